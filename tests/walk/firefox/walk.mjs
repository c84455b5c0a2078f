// Do in Firefox what stdin says: on each page its act, until an address begins with `until`. Prints each page as a line of JSON.
import { readFileSync } from "node:fs";
import puppeteer from "puppeteer-core";

const { program, start, until, acts } = JSON.parse(readFileSync(0, "utf8"));
// The sandbox's authority is nobody's root.
const browser = await puppeteer.launch({ browser: "firefox", executablePath: program, acceptInsecureCerts: true });
try {
  const page = await browser.newPage();
  await page.setViewport({ width: 390, height: 844 });
  await page.goto(start);
  for (;;) {
    const width = await page.evaluate("document.documentElement.scrollWidth");
    console.log(JSON.stringify({ url: page.url(), title: await page.title(), width }));
    if (page.url().startsWith(until)) break;
    const { host, pathname } = new URL(page.url());
    const act = acts[host + pathname];
    if (act === undefined) throw new Error(`nothing is known to be done at ${page.url()}`);
    for (const [name, text] of Object.entries(act.fill)) if (await page.$(`#${name}`)) await page.type(`#${name}`, text);
    for (const name of act.check) await page.click(`#${name}`);
    await Promise.all([page.waitForNavigation(), page.click(`#${act.click}`)]);
  }
} finally {
  await browser.close();
}
