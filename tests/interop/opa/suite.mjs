// Sidegate and the real `opa`: bundles that it builds and signs are taken, and those that it signs in
// ways that we do not believe are not. Whatever is decided meanwhile is told to a collector that reads
// with OPA's own types. The list of tests is the list of promises.

import * as assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { after, before, test } from 'node:test';

import { BundleServer, Bundled, build, folderOf, jwks, keys, opa, pack, signAndPack } from './bundles.mjs';
import { Receiver } from './receiver.mjs';
import { application, ask, authority, certificate, file, folder, freePort, until, write } from '../oidc/world.mjs';

const ISSUER = 'https://issuer.example';
const POLICIES = process.env.POLICIES;

const rsa = keys('rsa', 'rsa', { modulusLength: 2048 });
const ec = keys('ec', 'ec', { namedCurve: 'P-256' });
const stranger = keys('stranger', 'rsa', { modulusLength: 2048 });
const caller = keys('caller', 'ec', { namedCurve: 'P-256' });

let app;
let server;
let receiver;
let byRsa;
let byEc;
let bySet;
let unsigned;

const GLOBAL = `package sidegate.global

import rego.v1

# Numbers, so that their spelling matters: 1.50 in the data.
grant := {"roles": [], "scopes": [], "tenant": null}

deny contains "closed" if data.closed
`;

/** A policy that lets everybody in who has a token, or nobody. */
function policy(name, closed, more = {}) {
    const data = { closed, numbers: [1, 2.5, -3], text: '<é\u2028&>' };
    return folderOf(name, { 'sidegate/global.rego': GLOBAL, 'data.json': data, ...more });
}

function token() {
    const part = (json) => Buffer.from(JSON.stringify(json)).toString('base64url');
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: ISSUER, aud: 'billing', sub: 'client-1', iat: now, exp: now + 300, scope: 'billing:read', tenant: 'acme' };
    const signed = `${part({ alg: 'ES256', typ: 'JWT', kid: 'caller' })}.${part(claims)}`;
    const key = { key: fs.readFileSync(caller.secret), dsaEncoding: 'ieee-p1363' };
    return `${signed}.${crypto.sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
}

/** What a caller with a good token gets. */
async function status(by) {
    const headers = { authorization: `Bearer ${token()}` };
    const answer = await ask(`${by.address}/charges/7`, { headers, ca: file('ca.pem'), servername: 'localhost' });
    return answer.status;
}

async function start(name, trust, first) {
    const port = await freePort();
    const by = await Bundled.start(server, name, trust, {
        ...receiver.keys(name),
        jwt: { issuers: [{ issuer: ISSUER, audience: 'billing', keys: { file: file('caller.jwks') } }] },
        inbound: [{
            listen: `127.0.0.1:${port}`,
            forward_to: app.address,
            accept: ['jwt'],
            certificate: { chain: file('localhost.pem'), key: file('localhost.key') },
            routes: [{ path: '/**', methods: ['GET'], scopes: ['billing:read'] }],
        }],
    }, first);
    by.address = `https://127.0.0.1:${port}`;
    return by;
}

before(async () => {
    const ca = authority('ca');
    app = await application();
    const proof = certificate('ca', 'localhost');
    server = await BundleServer.start(proof, ca);
    receiver = await Receiver.start(proof, ca);
    write('caller.jwks', jwks(caller));
    write('signers.jwks', jwks(rsa, ec));
    const open = policy('first', false);
    const sign = (key, algorithm) => ['--signing-key', key.secret, '--signing-alg', algorithm];
    byRsa = await start('by-rsa', { signed_by: { key: rsa.public } }, build(open, ...sign(rsa, 'RS256')));
    byEc = await start('by-ec', { signed_by: { key: ec.public, algorithm: 'ES256' } }, build(open, ...sign(ec, 'ES256')));
    const first = build(open, ...sign(ec, 'ES256'), '--verification-key-id', 'ec');
    bySet = await start('by-set', { signed_by: { jwks: file('signers.jwks') } }, first);
    unsigned = await start('unsigned', { danger_accept_unsigned: true }, build(open));
});

after(async () => {
    for (const by of [byRsa, byEc, bySet, unsigned]) {
        await by?.sidecar.stop();
    }
    await receiver?.stop();
    app?.close();
    server?.close();
    if (process.env.SIDEGATE_INTEROP_KEEP) {
        console.log(`kept: ${folder}`);
    } else {
        fs.rmSync(folder, { recursive: true });
    }
});

test('what the real opa built and signed decides', async () => {
    for (const by of [byRsa, byEc, bySet, unsigned]) {
        assert.equal(await status(by), 200, by.name);
    }
    const closed = policy('closed', true);
    const key = (pair) => ['--signing-key', pair.secret];
    await byRsa.takes(build(closed, ...key(rsa), '--signing-alg', 'RS256'));
    await byEc.takes(build(closed, ...key(ec), '--signing-alg', 'ES256'));
    await bySet.takes(build(closed, ...key(rsa), '--signing-alg', 'RS256', '--verification-key-id', 'rsa'));
    await unsigned.takes(build(closed));
    for (const by of [byRsa, byEc, bySet, unsigned]) {
        assert.equal(await status(by), 403, by.name);
    }
});

for (const algorithm of ['RS384', 'RS512', 'PS256', 'PS384', 'PS512']) {
    test(`opa's ${algorithm} holds`, async () => {
        const root = policy(`signed-${algorithm}`, false, { [`${algorithm}/data.json`]: { a: 1 } });
        await byRsa.takes(build(root, '--signing-key', rsa.secret, '--signing-alg', algorithm));
        assert.equal(await status(byRsa), 200);
    });
}

test('files that opa signs as they are, and tar packs, are taken', async () => {
    const root = policy('by-hand', true, { '.manifest': { revision: 'by hand', roots: [''] }, 'README.md': '# hello\n' });
    await byRsa.takes(signAndPack(root, rsa, 'RS256'));
    assert.equal(await status(byRsa), 403);
});

test('the digest of data is the one of opa, however it is spelled', async () => {
    const root = policy('spelled', false, {
        'data.json': '{ "numbers": [1.50, 1e3, -0, 12345678901234567890123],\n "closed": false, "u": "\\u00e9\\u2028\\/\\ud83d\\ude00<&>" }',
        'more/data.json': '[]',
        'yaml/data.yaml': '# comment\nb: [1, two, true, null]\na: { x: "y" }\n',
    });
    await byEc.takes(signAndPack(root, ec, 'ES256'));
    assert.equal(await status(byEc), 200);
});

test('a bundle with several roots is taken, and one that leaves them is refused', async () => {
    const manifest = { revision: 'v7', roots: ['sidegate/global', 'closed', 'numbers', 'text'] };
    const root = policy('roots', true, { '.manifest': manifest });
    await unsigned.takes(build(root));
    assert.equal(await status(unsigned), 403);
    fs.writeFileSync(path.join(root, 'data.json'), JSON.stringify({ closed: false, other: 1 }));
    assert.throws(() => build(root), /do not permit/, 'opa refuses it, too');
    const { ready, why } = await unsigned.refuses(pack(root));
    assert.match(why, /`\/other` lies outside the roots/);
    assert.ok(ready);
    assert.equal(await status(unsigned), 403);
});

test('the policies that come with Sidegate are a bundle', async () => {
    const root = file('policies');
    fs.cpSync(POLICIES, root, { recursive: true });
    await byRsa.takes(build(root, '--signing-key', rsa.secret, '--signing-alg', 'RS256', '--revision', 'shipped'));
    assert.match(byRsa.sidecar.output, /shipped/);
});

test('what opa signs by a shared secret or by a stranger is refused', async () => {
    const root = policy('refused', false);
    write('shared.txt', 'secret-of-two');
    for (const [words, why] of [
        [['--signing-key', file('shared.txt'), '--signing-alg', 'HS256'], /algorithm/],
        [['--signing-key', stranger.secret, '--signing-alg', 'RS256'], /signature does not hold/],
        [[], /not signed/],
    ]) {
        const { ready, why: said } = await byRsa.refuses(build(root, ...words));
        assert.match(said, why);
        assert.ok(ready, 'the old one is as good as ever');
    }
});

test('a bundle that was changed after opa signed it is refused here as there', async () => {
    const root = policy('changed', false);
    signAndPack(root, rsa, 'RS256');
    for (const [name, text, why] of [
        ['data.json', '{"closed": false}', /`data.json` is not what was signed/],
        ['sidegate/more.rego', 'package sidegate.more\n', /`sidegate\/more.rego` is not covered/],
    ]) {
        const before = fs.existsSync(path.join(root, name)) && fs.readFileSync(path.join(root, name));
        fs.writeFileSync(path.join(root, name), text);
        const packed = pack(root);
        const { why: said } = await byRsa.refuses(packed);
        assert.match(said, why);
        fs.writeFileSync(file('changed.tar.gz'), packed);
        const check = () => opa(folder, 'build', '-b', 'changed.tar.gz', '-o', 'again.tar.gz', '--verification-key', rsa.public);
        assert.throws(check, /digest mismatch|not included in bundle signature/);
        if (before) {
            fs.writeFileSync(path.join(root, name), before);
        } else {
            fs.rmSync(path.join(root, name));
        }
    }
});

const MASKS = `package system.log

mask contains "/input/peer/address"

mask contains {"op": "upsert", "path": "/input/request/path", "value": "**"}
`;

test('a collector with the types of opa takes every decision, each once', async () => {
    const root = policy('masked', true, { 'log.rego': MASKS });
    await byEc.takes(build(root, '--signing-key', ec.secret, '--signing-alg', 'ES256', '--revision', 'masked'));
    assert.equal(await status(byEc), 403);
    // An audit line may be a moment younger than its answer; the event is younger still.
    const masked = await until('the masked event', async () => receiver.events('by-ec').find((event) => event.masked));
    for (const { sidecar } of [byRsa, byEc, bySet, unsigned]) {
        const { name } = sidecar;
        const audit = sidecar.audit().trimEnd().split('\n').map((line) => JSON.parse(line));
        assert.ok(audit.length > 0, name);
        const events = await until(`the events of ${name}`, async () => {
            const found = receiver.events(name);
            return found.length >= audit.length && found;
        });
        const told = events.map((event) => [event.custom.request_id, event.result.allowed, event.timestamp]);
        const decided = audit.map((line) => [line.request_id, line.decision === 'allow', line.time]);
        const byTime = (one, other) => (one.join() < other.join() ? -1 : 1);
        const instant = ([id, allowed, time]) => [id, allowed, Date.parse(time)];
        assert.deepEqual(told.map(instant).sort(byTime), decided.map(instant).sort(byTime), name);
        assert.equal(new Set(events.map((event) => event.decision_id)).size, events.length);
    }
    assert.deepEqual(masked.erased, ['/input/peer/address']);
    assert.deepEqual(masked.masked, ['/input/request/path']);
    assert.equal(masked.input.request.path, '**');
    assert.equal(masked.requested_by, undefined);
    assert.equal(masked.bundles.sidegate.revision, 'masked');
    assert.deepEqual(receiver.refused(), []);
});

test('a collector with the types of opa takes every report', async () => {
    const holds = (revision) => ({ bundles }) => bundles.sidegate.active_revision === revision && !bundles.sidegate.code;
    const { bundles, plugins } = await receiver.report('by-ec', 'the masked bundle', holds('masked'));
    assert.equal(plugins.bundle.state, 'OK');
    assert.ok(bundles.sidegate.size > 0);
    assert.ok(Date.parse(bundles.sidegate.last_successful_activation) > Date.now() - 600_000);
    const root = policy('not-signed', false);
    await byEc.refuses(build(root));
    const refused = await receiver.report('by-ec', 'the refused bundle', ({ bundles: of }) => /not signed/.test(of.sidegate.message));
    assert.equal(refused.bundles.sidegate.code, 'bundle_error');
    assert.equal(refused.bundles.sidegate.active_revision, 'masked');
    assert.deepEqual(receiver.refused(), []);
});
