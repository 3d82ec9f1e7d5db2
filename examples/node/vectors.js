// node vectors.js FILE: the stream's test vectors; node vectors.js --stream: one case on stdin.
import { readFileSync } from "node:fs";
import { check, streamOne } from "./check_vectors.js";

if (process.argv[2] === "--stream") {
  console.log(JSON.stringify(await streamOne(JSON.parse(readFileSync(0, "utf8")))));
} else {
  const { count, failed } = check(JSON.parse(readFileSync(process.argv[2], "utf8")));
  for (const name of failed) console.log(`differs: ${name}`);
  console.log(`${count - failed.length} passed, ${failed.length} failed`);
  process.exitCode = failed.length ? 1 : 0;
}
