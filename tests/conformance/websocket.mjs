// WebSocket: the Autobahn test suite, with two sidecars between its client and its server, both ways around.

import * as fs from 'node:fs';
import * as path from 'node:path';

import { file, freePort, inbound, listening, outbound, program, server, sidecar } from './world.mjs';

const span = (chapter, last) => Array.from({ length: last }, (_, at) => `${chapter}.${at + 1}`);
const COMPRESSION = [...span('12', 5), ...span('13', 7)].flatMap((section) => span(section, 18));
const SPEED = ['9.3.1', '9.3.2', '9.4.1', '9.4.2', '9.5.1', '9.6.1', ...span('9.7', 6), ...span('9.8', 6)];

export const excused = [{
    cases: COMPRESSION,
    label: '12.*, 13.*',
    why: 'Compression is between the two ends. What is between them passes the bytes of a frame on as they come.',
}, {
    cases: SPEED,
    label: '9.3.1, 9.3.2, 9.4.1, 9.4.2, 9.5.1, 9.6.1, 9.7.*, 9.8.*',
    why: 'Measure how fast the two ends take many small frames, with limits in seconds that a busy machine exceeds. Their '
        + 'neighbors try the same with fewer, larger ones.',
}];

export async function measure() {
    const [fuzzed, fuzzing, secure1, secure2, plain1, plain2] =
        await Promise.all(Array.from({ length: 6 }, freePort));
    await sidecar('server', { inbound: [inbound(secure1, fuzzed), inbound(secure2, fuzzing)] });
    // The servers refuse a host with another port than their own.
    const hosted = (port) => ({ host: `127.0.0.1:${port}` });
    await sidecar('client', {
        outbound: [outbound(plain1, secure1, hosted(fuzzed)), outbound(plain2, secure2, hosted(fuzzing))],
    });
    wstest('wstest-server', 'testeeserver', '-w', `ws://127.0.0.1:${fuzzed}`);
    await listening(fuzzed);
    return [
        { against: 'their client, two sidecars, a server', cases: await tried((cases) => fuzzedServer(cases, plain1)) },
        { against: 'a client, two sidecars, their server', cases: await tried((cases) => fuzzedClient(cases, fuzzing, plain2)) },
    ];
}

/** Their limits are of half a second, on whatever machine: what fails is tried again alone, and is told. */
async function tried(judge) {
    const untried = [...COMPRESSION, ...SPEED].map((id) => ({ id, why: 'not tried' }));
    let cases = await judge({ cases: ['*'], 'exclude-cases': ['12.*', '13.*', ...SPEED] });
    const failed = cases.filter((it) => it.why);
    if (failed.length > 0 && failed.length < 5) {
        console.log(`websocket: again: ${failed.map((it) => `${it.id} (${it.why})`).join(', ')}`);
        const again = await judge({ cases: failed.map((it) => it.id), 'exclude-cases': [] });
        cases = cases.map((it) => again.find((other) => other.id === it.id) ?? it);
    }
    return [...cases, ...untried];
}

async function fuzzedServer(cases, port) {
    const outdir = fresh('fuzzed-server');
    const servers = [{ agent: 'server', url: `ws://127.0.0.1:${port}` }];
    await finished('fuzzingclient', '-s', write('client.json', { outdir, servers, ...cases, 'exclude-agent-cases': {} }));
    return read(outdir);
}

async function fuzzedClient(cases, port, through) {
    const outdir = fresh('fuzzed-client');
    const url = `ws://127.0.0.1:${port}`;
    const specification = write('server.json', { outdir, url, ...cases, 'exclude-agent-cases': {} });
    const it = wstest('wstest-fuzzer', 'fuzzingserver', '-s', specification);
    await listening(port);
    await finished('testeeclient', '-w', `ws://127.0.0.1:${through}`);
    await it.stop();
    return read(outdir);
}

const environment = { ...process.env, PYTHONPATH: process.env.AUTOBAHN };
const WORDS = ['-m', 'autobahntestsuite.wstest', '-m'];

function fresh(name) {
    return fs.mkdtempSync(file(name));
}

function write(name, specification) {
    fs.writeFileSync(file(name), JSON.stringify(specification));
    return file(name);
}

function wstest(name, mode, ...words) {
    return server(name, process.env.PYTHON2, [...WORDS, mode, ...words, '-u', '0'], { env: environment });
}

async function finished(mode, ...words) {
    const ran = await program(process.env.PYTHON2, [...WORDS, mode, ...words], { env: environment });
    if (ran.status !== 0) {
        throw new Error(`wstest ${mode}: ${ran.stdout} ${ran.stderr}`);
    }
}

/** What it found. `NON-STRICT` and `INFORMATIONAL` are no failures in its own report either. */
function read(folder) {
    const [agent] = Object.values(JSON.parse(fs.readFileSync(path.join(folder, 'index.json'), 'utf8')));
    const good = ['OK', 'NON-STRICT', 'INFORMATIONAL'];
    return Object.entries(agent).map(([id, { behavior, behaviorClose }]) => ({
        id,
        why: good.includes(behavior) && good.includes(behaviorClose) ? undefined : `${behavior}, close ${behaviorClose}`,
    }));
}
