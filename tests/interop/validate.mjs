// Judges HTML files after the standard: node validate.mjs FOLDER; prints what is wrong as JSON, file name -> [text].
import { readdirSync, readFileSync } from "node:fs";
import { HtmlValidate, StaticConfigLoader } from "html-validate";

const folder = process.argv[2];
const judge = new HtmlValidate(new StaticConfigLoader({ extends: ["html-validate:standard"] }));
const found = {};
for (const name of readdirSync(folder).filter((each) => each.endsWith(".html"))) {
  const report = await judge.validateString(readFileSync(`${folder}/${name}`, "utf-8"), name);
  const messages = report.results.flatMap((each) => each.messages);
  if (messages.length > 0) {
    found[name] = messages.map((each) => `${each.line}: ${each.ruleId}: ${each.message}`);
  }
}
console.log(JSON.stringify(found));
