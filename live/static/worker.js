// A page's session, in a worker: loads Python once, then answers one message after another.
import { loadPyodide } from "./pyodide.mjs";

const now = () => performance.timeOrigin + performance.now();
let python, page, total, received = 0, told = 0, slept = 0;

// Nothing else runs while Python sleeps, so it does not wait: its clocks move ahead.
for (const clock of [Date, performance]) {
  const real = clock.now.bind(clock);
  clock.now = () => real() + slept;
}
self.sleep = (seconds) => { slept += 1000 * seconds; };

// Count what is fetched, for the progress. Pyodide fetches too.
const fetchPlainly = self.fetch;
self.fetch = async (address, options) => {
  const answer = await fetchPlainly(address, options);
  if (!answer.ok) throw new Error(`The server answered ${answer.status} for ${answer.url}`);
  const count = async (reader) => {
    for (let chunk; !(chunk = await reader.read()).done; ) {
      received += chunk.value.length;
      if (Math.floor((50 * received) / total) === told) continue;
      told = Math.floor((50 * received) / total);
      postMessage({ fetched: Math.min(received / total, 1) });
    }
  };
  count(answer.clone().body.getReader()).catch(() => {});
  return answer;
};
const fetched = async (name) => new Uint8Array(await (await fetch(new URL(name, import.meta.url))).arrayBuffer());

async function open({ project, zips, packages, bytes }) {
  total = bytes;
  const names = [...packages, ...zips];
  const files = Promise.all(names.map(fetched));
  python = await loadPyodide({
    // Without this, Pyodide asks another host for its list of packages.
    lockFileContents: { info: { arch: "wasm32", platform: "emscripten", python: "3.14.0", abi_version: "2026_0" }, packages: {} },
    checkAPIVersion: false,
  });
  postMessage({ doing: "Unpacking Django" });
  const contents = new Map((await files).map((content, index) => [names[index], content]));
  for (const name of packages)
    python.unpackArchive(contents.get(name), "zip", { extractDir: "/lib/python3.14/site-packages" });
  python.FS.mkdirTree("/home/Downloads");
  for (const name of zips) python.FS.writeFile(`/home/Downloads/${name.split("/").pop()}`, contents.get(name));
  const unpacked = now();
  page = python.pyimport("runner.page").Page(project);
  return unpacked;
}

onmessage = async ({ data: { ask, ...rest } }) => {
  try {
    if (ask === "open") return postMessage({ answer: await open(rest) });
    const answer = page[ask](JSON.stringify(rest));
    postMessage({ answer: typeof answer === "string" ? JSON.parse(answer) : answer.toJs() });
  } catch (error) {
    postMessage({ failed: String(error.message).trim().slice(-2000) });
  }
};
