"""veraPDF on a signed report: PDF/A-3a (ISO 19005-3) and PDF/UA-1 (ISO 14289-1)."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.documents import sample

pytestmark = pytest.mark.long

#: org.verapdf.apps:greenfield-apps on Maven Central.
VERAPDF = "1.28.2"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>checker</groupId><artifactId>checker</artifactId><version>1</version><dependencies><dependency>
<groupId>org.verapdf.apps</groupId><artifactId>greenfield-apps</artifactId><version>{VERAPDF}</version>
</dependency></dependencies></project>"""


def missing(what: str) -> None:
    """A checker that is not there is a skip on a user's machine, and a failure in CI."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where veraPDF and all that it needs is, fetched by Maven."""
    if not (shutil.which("java") and shutil.which("mvn")):
        missing("veraPDF needs Java and Maven: apt-get install default-jre-headless maven")
    here = tmp_path_factory.mktemp("verapdf")
    (here / "pom.xml").write_text(_POM)
    command = ["mvn", "-q", "-B", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=170, check=False)
    if done.returncode:
        missing(f"Maven cannot fetch veraPDF {VERAPDF}: {done.stdout[-500:]}")
    return (here / "classpath").read_text()


@pytest.mark.parametrize("profile", ["3a", "ua1"])
def test_a_signed_report_conforms(classpath: str, tmp_path: Path, profile: str) -> None:
    names = ["Acme & Sons (Bakers) Ltd", "\u202e \u0645 \U0001f600 #panic() </svg>"]
    for number, name in enumerate(names):
        told = sample.report_data(sample.reported(name=name, bank=name))
        (tmp_path / f"{number}.pdf").write_bytes(sample.signed(told))
    (tmp_path / "bad.pdf").write_bytes(sample.signed().replace(b"/MarkInfo", b"/MarkInfx"))
    command = ["java", "-cp", classpath, "org.verapdf.apps.GreenfieldCliWrapper", "-f", profile, "--format", "text"]
    done = subprocess.run(
        [*command, *sorted(map(str, tmp_path.glob("*.pdf")))], capture_output=True, text=True, timeout=170, check=False
    )
    said = {Path(line.split()[1]).name: line.split()[0] for line in done.stdout.splitlines() if ".pdf" in line}
    assert said == {"0.pdf": "PASS", "1.pdf": "PASS", "bad.pdf": "FAIL"}, done.stdout + done.stderr
