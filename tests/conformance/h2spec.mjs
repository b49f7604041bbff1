// HTTP/2: h2spec against both listeners that speak it.

import { once } from 'node:events';
import * as fs from 'node:fs';
import * as http2 from 'node:http2';

import { file, freePort, inbound, originate, outbound, program, sidecar, svid } from './world.mjs';

/** Long enough for a window to matter. */
const ANSWER = 'answer'.repeat(100);

export const excused = [{
    cases: ['http2/3.5/2'],
    against: 'outbound, plaintext',
    why: 'The listener speaks HTTP/1.1 as well, and an invalid preface is no HTTP/2: it is answered with 400 as the malformed '
        + 'request that it is, and the connection ends (RFC 9113 section 3.4: a GOAWAY may be omitted).',
}];

export async function measure() {
    const application = http2.createServer((request, response) => {
        request.resume();
        request.on('end', () => response.end(ANSWER));
    });
    application.listen(0, '127.0.0.1');
    await once(application, 'listening');
    const [secure, plain] = [await freePort(), await freePort()];
    await sidecar('server', { inbound: [inbound(secure, application.address().port)] });
    await sidecar('client', { outbound: [outbound(plain, secure)] });
    const relay = await originate(secure, await svid('client'), 'h2');
    const targets = { 'inbound, mutual TLS': relay.port, 'outbound, plaintext': plain };
    const measured = [];
    for (const [against, port] of Object.entries(targets)) {
        measured.push({ against, cases: await cases(port) });
    }
    relay.close();
    application.close();
    return measured;
}

async function cases(port) {
    const report = file(`h2spec-${port}.xml`);
    const words = ['--strict', '--timeout', '2', '--port', port, '--path', '/', '--junit-report', report];
    const ran = await program(process.env.H2SPEC, words.map(String));
    if (!fs.existsSync(report)) {
        throw new Error(`h2spec: ${ran.stdout} ${ran.stderr}`);
    }
    return read(fs.readFileSync(report, 'utf8'));
}

/** The cases of a report in JUnit's form: the section as h2spec numbers it, and what went wrong. */
function read(xml) {
    const found = [];
    for (const [, section, body] of xml.matchAll(/<testsuite [^>]*?package="([^"]*)"[^>]*>([^]*?)<\/testsuite>/g)) {
        let nth = 0;
        for (const [, words, inner = ''] of body.matchAll(/<testcase ([^>]*?)(?:\/>|>([^]*?)<\/testcase>)/g)) {
            nth += 1;
            const title = /classname="([^"]*)"/.exec(words)[1];
            const why = /<(?:failure|error|skipped)[^>]*>([^]*)<\//.exec(inner)?.[1];
            found.push({ id: `${section}/${nth}`, title, why: why?.trim() });
        }
    }
    return found;
}
