"use strict";
// Each form with data-passkey asks the browser for a passkey and sends it as a field. Without this script, and in a browser
// that has no passkeys, such a form stays hidden, and the code by e-mail is there.
{
  const able = "PublicKeyCredential" in window && "parseRequestOptionsFromJSON" in PublicKeyCredential;
  const all = (selector) => (able ? document.querySelectorAll(selector) : []);

  const ask = (form) => {
    const options = JSON.parse(form.dataset.options);
    return form.dataset.passkey === "add"
      ? navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  };

  for (const form of all("form[data-passkey]")) {
    const button = form.querySelector("button");
    const failed = form.querySelector("[role=alert]");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      failed.hidden = true;
      try {
        form.elements.passkey.value = JSON.stringify(await ask(form));
        form.submit();
      } catch {
        failed.hidden = false;
        button.disabled = false;
        button.focus();
      }
    });
  }
  for (const each of all("[data-without-passkeys]")) each.hidden = true;
}
