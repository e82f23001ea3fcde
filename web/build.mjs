// Puts the page together: index.html, app.js, app.css and icon.svg, each as it is and compressed. What has not changed
// is left alone, so that whoever embeds the files is not built anew.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
const dist = process.argv[2] ?? join(here, "dist");
mkdirSync(dist, { recursive: true });

const licence = readFileSync(join(here, "node_modules/uplot/LICENSE"), "utf8").trim();
const { outputFiles } = await build({
  absWorkingDir: here,
  entryPoints: [
    { in: "src/main.js", out: "app" },
    { in: "src/app.css", out: "app" },
  ],
  outdir: dist,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome109", "firefox102", "safari15.4"],
  banner: { js: `/*! memmon's page; in it uPlot:\n${licence}\n*/` },
  write: false,
});
const files = new Map(outputFiles.map((file) => [file.path.split("/").pop(), Buffer.from(file.contents)]));
for (const name of ["index.html", "icon.svg"]) files.set(name, readFileSync(join(here, "src", name)));

let total = 0;
for (const [name, content] of files) {
  const compressed = gzipSync(content, { level: 9 });
  total += compressed.length;
  put(join(dist, name), content);
  put(join(dist, `${name}.gz`), compressed);
}
console.log(`${files.size} files, ${total} bytes compressed`);

function put(path, content) {
  let before = null;
  try {
    before = readFileSync(path);
  } catch {
    // It is new.
  }
  if (!before?.equals(content)) writeFileSync(path, content);
}
