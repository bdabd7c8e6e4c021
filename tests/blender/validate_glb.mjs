// node validate_glb.mjs FOLDER FILE: Khronos' glTF validator, installed in FOLDER, on FILE; its report as JSON.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, file] = process.argv.slice(2);
const { validateBytes } = createRequire(resolve(folder, "package.json"))("gltf-validator");
const report = await validateBytes(new Uint8Array(await readFile(file)));
console.log(JSON.stringify(report.issues));
