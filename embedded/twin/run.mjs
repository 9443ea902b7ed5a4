// Prints the traces of the seeds that it is given, played as WebAssembly: node run.mjs twin.wasm SEED...
import { readFileSync } from "node:fs";

const [file, ...seeds] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(readFileSync(file), {});
for (const seed of seeds) {
  const trace = BigInt.asUintN(64, instance.exports.trace(Number(seed)));
  console.log(`trace ${seed} ${trace.toString(16).padStart(16, "0")}`);
}
