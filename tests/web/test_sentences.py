"""Every sentence of every template passes whole through the translation function."""

from typing import Any

import pytest
from flask import Flask, render_template_string

from consent_server.web import language, pages
from tests.web import sentences

#: The control page of the sandbox is a tool for developers, in English alone, and its customers' log-in plays somebody else's
#: page: the templates say so.
NOT_TRANSLATED = {"sandbox/control.html", "sandbox/clients.html", "sandbox/customers.html"}
TEMPLATES = sorted(str(path.relative_to(pages.TEMPLATES)) for path in pages.TEMPLATES.rglob("*.html"))


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name not in NOT_TRANSLATED])
def test_a_template_holds_whole_messages_and_no_other_words(name: str) -> None:
    assert not sentences.faults((pages.TEMPLATES / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("<p>Hello</p>", id="words"),
        pytest.param("<p>{% if x %}Yes{% else %}{{ _('No') }}{% endif %}</p>", id="words in a branch"),
        pytest.param("<p>{{ 'yes' if x else 'no' }}</p>", id="words in an expression"),
        pytest.param("<nav aria-label=\"Steps\"></nav>", id="words in an attribute"),
        pytest.param("<p>{{ _('Asked by') }} <bdi>{{ name }}</bdi></p>", id="a value behind a fragment"),
        pytest.param("<p>{{ name }} {{ _('asks for your readings.') }}</p>", id="a value before a fragment"),
        pytest.param("<p><bdi>{{ name }}</bdi> {{ _('It asks for your readings.') }}</p>", id="a value before a sentence"),
        pytest.param("<a>{{ _('Evidence') }}<span class=\"hidden\"> {{ _('for') }} {{ x }}</span></a>", id="hidden words"),
        pytest.param("<li>{{ _('Error') }}: {{ error.text|translated }}</li>", id="a label before a sentence"),
        pytest.param("<dd>{{ _('May') }} {{ m.fuels(x) }}</dd>", id="a phrase behind a fragment"),
        pytest.param("<p>{{ _('Sent') }}{% if x %} {{ _('again') }}{% endif %}</p>", id="a fragment in a branch"),
        pytest.param("{% macro x() %}<p>{{ _('one') }} {{ _('two') }}</p>{% endmacro %}", id="in a macro"),
        pytest.param("{% set x %}<p>{{ _('one') }} {{ _('two') }}</p>{% endset %}", id="in an assignment"),
        pytest.param("<p>{{ _('Allow cookies.') }} <a>{{ _('try again') }}</a></p>", id="a link that is a fragment"),
        pytest.param("<p>{{ _(error.text) }}</p>", id="a message that is not a constant"),
        pytest.param("<p>{{ _('Sent to ') ~ name }}</p>", id="a message joined to a value"),
    ],
)  # fmt: skip
def test_sentences_in_fragments_are_found(source: str) -> None:
    assert sentences.faults(source)


@pytest.mark.parametrize(
    "source",
    [
        "<p>{{ _('Asked by %(name)s', name=w.name(x)) }}</p>",
        "<p>{{ _('We sent a code.') }} {{ _('It may take a minute.') }}</p>",
        "<p>{% if x %}{{ _('Yes') }}{% else %}{{ _('No') }}{% endif %}</p>",
        "<p>{{ _('We look again.') }} <a>{{ _('Look now') }}</a> <a>{{ _('Home') }}</a></p>",
        "<dd>{{ name }}<br>{{ _('as they told us') }}</dd>",
        "<p>{{ '%.3f'|format(x) }} <span>tCO<sub>2</sub>e</span></p>",
        "<div{% if x %} id=\"a\"{% endif %}><p class=\"{{ 'on' if x }}\">{{ _('Yes') }}</p></div>",
    ],
)
def test_whole_sentences_are_not(source: str) -> None:
    assert not sentences.faults(source)


def test_text_outside_the_marks_of_messages() -> None:
    page = "<p>⟦Hello <bdi>Ada</bdi>⟧ <b>friend</b>, 12.5 tCO₂e</p><nav aria-label='Steps'></nav><p><bdi>Ada</bdi></p>"
    assert sentences.outside_marks(page) == ["friend", "Steps"]


@pytest.fixture
def shown() -> Any:
    """Return what a template shows, with the macros that go into sentences as `w`."""
    app = Flask("sentences")
    language.install(app, of_reader=False)
    pages.install(app)

    def show(source: str, **values: object) -> str:
        with app.app_context():
            return render_template_string(
                f"{{% import 'components/inline.html' as w with context %}}{source}", **values
            )

    return show


@pytest.mark.parametrize(
    ("items", "phrase"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "<b>", "c"], "a, &lt;b&gt; and c")],
)
def test_a_list_is_one_phrase(shown: Any, items: list[str], phrase: str) -> None:
    assert shown("{{ w.listed(items) }}", items=items) == phrase


@pytest.mark.parametrize(
    "source",
    [
        "{{ _('Hello %(name)s', name=hostile) }}",
        "{{ _('Hello %(name)s', name=w.name(hostile)) }}",
        "{{ _('Hello %(name)s', name=w.strong(hostile)) }}",
        "{{ _('Hello %(name)s', name=w.span('soft', hostile)) }}",
        "{{ _('%(link)sHello%(end)s', link=w.opened(hostile), end=w.closed) }}",
        "{{ ngettext('%(num)d %(name)s', '%(num)d %(name)s', 2, name=hostile) }}",
        "{{ hostile|translated }}",
        "{{ hostile|translated|plain(300) }}",
        "{{ w.listed([hostile, w.name(hostile)]) }}",
    ],
)
def test_what_others_wrote_stays_text(shown: Any, source: str) -> None:
    html = shown(source, hostile='<script>%(name)s 100% "x')
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert '"x' not in html
