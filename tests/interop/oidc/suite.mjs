// Sidegate against an OpenID provider that is not ours. The list of tests is the list of promises;
// they run in this order, and the last looks for secrets in all that was said.

import * as assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { leaks, needles, secret, signer } from './secrets.mjs';
import {
    Provider, Sidecar, application, ask, authority, certificate, file, folder, freePort, until, write,
} from './world.mjs';

const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const CLUSTER = 'https://cluster.example';
const SERVICE_ACCOUNT = 'system:serviceaccount:prod:orders';
// An issuer is asked for keys out of turn no more often than this.
const QUIET = 10_000;

const acme = { tenant: 'acme', teams: ['payments'], roles: ['operator'] };
let provider;
let app;
let billing;
let strict;
let orders;
let locked;
let mounting;
const answers = [];

const clientKey = signer('orders-1');
const clusterKey = signer('cluster-1');

function client(id, more = {}) {
    const secretOf = more.auth === 'private_key_jwt' ? undefined : secret(id);
    return { id, auth: 'client_secret_basic', secret: secretOf, claims: acme, ...more };
}

/** Somebody without a sidecar, at the listener of `billing` or another. */
async function call(token, { method = 'GET', to = billing } = {}) {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const options = { method, headers, ca: file('ca.pem'), servername: 'billing.test' };
    const before = app.reached;
    const answer = await ask(`${to.address}/charges/7`, options);
    answers.push(JSON.stringify(answer.headers), answer.text);
    return { ...answer, reached: app.reached - before };
}

async function assertRefused(answer, { status, error, challenge, detail }, by = billing) {
    assert.equal(answer.status, status, answer.text);
    assert.equal(answer.reached, 0, 'the application heard of it');
    const { error: code, request_id: id, ...more } = answer.json();
    assert.equal(code, error);
    assert.deepEqual(more, {}, 'the body says no more than the code');
    if (challenge) {
        assert.match(answer.headers['www-authenticate'], challenge);
    }
    const line = await by.line(id);
    assert.equal(line.decision, 'deny');
    assert.match(`${line.reason} ${line.detail}`, detail);
}

const invalid = (detail) => ({
    status: 401, error: 'invalid_token', challenge: /^Bearer .*error="invalid_token"/, detail,
});

/** The application beside `orders`, or another sidecar, calls out. */
async function callOut(name, sidecar = orders) {
    const answer = await ask(`http://127.0.0.1:${sidecar.outbound[name]}/charges/7`);
    answers.push(JSON.stringify(answer.headers), answer.text);
    return answer;
}

/** A sidecar that takes tokens, with more said of the issuer. */
async function receiver(name, issuer) {
    const listen = `127.0.0.1:${await freePort()}`;
    const sidecar = await Sidecar.start(name, {
        jwt: { issuers: [{ issuer: provider.issuer, audience: 'billing', ca: file('ca.pem'), ...issuer }] },
        inbound: [{
            name: 'charges',
            listen,
            forward_to: app.address,
            accept: ['jwt'],
            certificate: { chain: file('billing.test.pem'), key: file('billing.test.key') },
            routes: [
                { path: '/charges/{id}', methods: ['GET'], scopes: ['billing:read'] },
                { path: '/charges/{id}', methods: ['POST'], scopes: ['billing:write'] },
            ],
        }],
    });
    sidecar.address = `https://${listen}`;
    return sidecar;
}

before(async () => {
    authority('ca');
    authority('stranger');
    const tls = certificate('ca', 'localhost');
    certificate('ca', 'billing.test');
    provider = new Provider({
        port: await freePort(),
        tls,
        subjects: { issuer: CLUSTER, jwks: clusterKey.jwks },
        clients: [
            ...ALGORITHMS.map((alg) => client(`caller-${alg}`, { alg })),
            client('globex', { claims: { ...acme, tenant: 'globex' } }),
            client('tenantless', { claims: { teams: [] } }),
            client('odd-tenant', { claims: { ...acme, tenant: ['acme'] } }),
            client('endless', { without: ['exp'] }),
            client('unscoped', { without: ['scope'] }),
            client('long', { lifetime: 7200 }),
            client('orders-basic', { lifetime: 20 }),
            client('orders-post', { lifetime: 20, auth: 'client_secret_post', alg: 'ES256' }),
            client('orders-key', { lifetime: 20, auth: 'private_key_jwt', jwks: clientKey.jwks, alg: 'EdDSA' }),
            client('orders-exchange', { lifetime: 20, exchange: true, alg: 'PS256' }),
            client('orders-steady'),
            client('orders-locked'),
        ],
    }, file('ca.pem'));
    await provider.start();

    app = await application();
    billing = await receiver('billing', {});
}, { timeout: 120_000 });

after(async () => {
    clearInterval(mounting);
    app?.close();
    for (const process of [billing, strict, orders, locked, provider]) {
        await process?.stop();
    }
    if (process.env.SIDEGATE_INTEROP_KEEP) {
        console.log(`what was said is kept in ${folder}`);
    } else {
        fs.rmSync(folder, { recursive: true });
    }
});

for (const alg of ALGORITHMS) {
    test(`a token signed by ${alg} is accepted by discovery`, async () => {
        const answer = await call(await provider.token(`caller-${alg}`));
        assert.equal(answer.status, 200, answer.text);
        const { headers } = answer.json();
        assert.equal(headers['x-sidegate-subject'], `caller-${alg}`);
        assert.equal(headers['x-sidegate-tenant'], 'acme');
        assert.equal(headers['x-sidegate-scopes'], 'billing:read');
        assert.equal(headers['x-sidegate-method'], 'jwt');
        assert.equal(headers.authorization, undefined, 'a machine token ends at the sidecar');
        const line = await billing.line(headers['x-request-id']);
        assert.equal(line.decision, 'allow');
        assert.equal(line.source.issuer, provider.issuer);
    });
}

test('the keys are fetched once for many tokens', async () => {
    for (const alg of ALGORITHMS) {
        assert.equal((await call(await provider.token(`caller-${alg}`))).status, 200);
    }
    const { asked } = await provider.control();
    assert.equal(asked['/.well-known/openid-configuration'], 1);
    assert.equal(asked['/jwks'], 1);
});

test('without a token, or with something else, the answer asks for one', async () => {
    const challenge = /^Bearer\b/;
    const nothing = await call(undefined);
    await assertRefused(nothing, { status: 401, error: 'unauthenticated', challenge, detail: /./ });
    assert.doesNotMatch(nothing.headers['www-authenticate'], /error=/, 'RFC 6750 section 3.1');
    await assertRefused(await call('not-a-jwt'), invalid(/malformed/));
});

test('a token for somebody else is refused', async () => {
    const token = await provider.token('caller-RS256', { resource: 'https://ledger.example/' });
    await assertRefused(await call(token), invalid(/audience/));
});

test('a token that has run out is refused', async () => {
    await provider.control({ clock: -400 });
    const token = await provider.token('caller-ES256');
    await provider.control({ clock: 0 });
    await assertRefused(await call(token), invalid(/expired/));
});

test('a token from a provider whose clock is ahead is refused', async () => {
    await provider.control({ clock: 400 });
    const token = await provider.token('caller-ES256');
    await provider.control({ clock: 0 });
    await assertRefused(await call(token), invalid(/issued_in_future|not_yet_valid/));
});

test('a token that lives for longer than an hour is refused', async () => {
    await assertRefused(await call(await provider.token('long')), invalid(/lifetime/));
});

test('a token that lacks a claim, or has one of another type, is refused', async () => {
    for (const id of ['tenantless', 'endless', 'unscoped']) {
        await assertRefused(await call(await provider.token(id)), invalid(/claim_missing/));
    }
    await assertRefused(await call(await provider.token('odd-tenant')), invalid(/claim_type/));
});

test('a token whose claims were changed is refused', async () => {
    const [head, payload, signature] = (await provider.token('globex')).split('.');
    const claims = JSON.parse(Buffer.from(payload, 'base64url'));
    const forged = Buffer.from(JSON.stringify({ ...claims, tenant: 'acme' })).toString('base64url');
    await assertRefused(await call(`${head}.${forged}.${signature}`), invalid(/signature/));
});

test('a token that is bound to a key of its bearer is no bearer token', async () => {
    // DPoP, RFC 9449: whoever presents such a token has to prove a key, which nobody can do here.
    const { jwks, sign } = signer('bearer-1');
    const [{ kid, alg, use, ...jwk }] = jwks.keys;
    const dpop = sign({ htm: 'POST', htu: `${provider.issuer}/token` }, { typ: 'dpop+jwt', jwk });
    const token = await provider.token('caller-ES256', { headers: { dpop } });
    await assertRefused(await call(token), invalid(/bound_token/));
});

test('a token of another tenant is refused before its scopes are looked at', async () => {
    const answer = await call(await provider.token('globex'), { method: 'POST' });
    const detail = /tenant_mismatch/;
    await assertRefused(answer, { status: 403, error: 'tenant_mismatch', detail });
});

test('a token without the scope is refused, and the scope is named', async () => {
    const challenge = /error="insufficient_scope".*scope="billing:write"/;
    const refusal = { status: 403, error: 'insufficient_scope', challenge, detail: /insufficient_scope/ };
    const token = await provider.token('caller-PS256');
    await assertRefused(await call(token, { method: 'POST' }), refusal);
    const both = await provider.token('caller-PS256', { scope: 'billing:read billing:write' });
    assert.equal((await call(both, { method: 'POST' })).status, 200);
});

test('an issuer is held to its algorithms and tenants', async () => {
    const keys = { url: `${provider.issuer}/jwks` };
    strict = await receiver('strict', { keys, algorithms: ['PS256', 'RS256'], tenants: ['acme'] });
    for (const alg of ['PS256', 'RS256']) {
        assert.equal((await call(await provider.token(`caller-${alg}`), { to: strict })).status, 200);
    }
    for (const alg of ['ES256', 'EdDSA']) {
        const answer = await call(await provider.token(`caller-${alg}`), { to: strict });
        await assertRefused(answer, invalid(/algorithm/), strict);
    }
    const answer = await call(await provider.token('globex'), { to: strict });
    await assertRefused(answer, invalid(/tenant/), strict);
});

test('a new key is followed without a restart, and a dropped one is forgotten', async () => {
    const first = await provider.token('caller-ES256');
    assert.equal((await call(first)).status, 200);

    await provider.control({ rotate: 'ES256' });
    const second = await provider.token('caller-ES256');
    await sleep(QUIET); // so that it is the first attempt that has to succeed
    assert.equal((await call(second)).status, 200, 'at the first attempt');
    assert.equal((await call(first)).status, 200, 'the old key is still published');

    await provider.control({ rotate: 'ES256' });
    await provider.control({ retire: 'ES256' });
    const third = await provider.token('caller-ES256');
    await sleep(QUIET);
    assert.equal((await call(third)).status, 200, 'at the first attempt');
    for (const dropped of [first, second]) {
        await assertRefused(await call(dropped), invalid(/unknown_key/));
    }
});

test('tokens of unknown keys do not make us a burden to the provider', async () => {
    const [, payload, signature] = (await provider.token('caller-ES256')).split('.');
    const before = (await provider.control()).asked['/jwks'];
    for (let turn = 0; turn < 50; turn += 1) {
        const head = Buffer.from(JSON.stringify({ alg: 'ES256', typ: 'at+jwt', kid: `unknown-${turn}` }));
        const token = `${head.toString('base64url')}.${payload}.${signature}`;
        assert.equal((await call(token)).status, 401);
    }
    const fetches = (await provider.control()).asked['/jwks'] - before;
    assert.ok(fetches <= 2, `${fetches} fetches for 50 tokens`);
});

const WAYS = {
    basic: { client: 'orders-basic', proof: ['client_secret_basic'], subject: 'orders-basic' },
    post: { client: 'orders-post', proof: ['client_secret_post'], subject: 'orders-post' },
    key: { client: 'orders-key', proof: ['private_key_jwt'], subject: 'orders-key' },
    exchange: { client: 'orders-exchange', proof: ['client_secret_basic'], subject: SERVICE_ACCOUNT },
};

/** Mounted tokens, replaced by somebody else ever again, as a kubelet does. */
function mountTokens() {
    const { issuer } = provider;
    const mount = () => {
        write('assertion', clientKey.sign({ iss: 'orders-key', sub: 'orders-key', aud: issuer }));
        write('service-account', clusterKey.sign({ iss: CLUSTER, sub: SERVICE_ACCOUNT, aud: issuer }));
    };
    mount();
    mounting = setInterval(mount, 500);
}

async function outbound(name, present) {
    return {
        name,
        listen: `127.0.0.1:${await freePort()}`,
        connect_to: billing.address.replace('https://', ''),
        authenticate_with: ['jwt'],
        server: { name: 'billing.test', ca: file('ca.pem') },
        present,
    };
}

const ports = (listeners) => Object.fromEntries(
    listeners.map((it) => [it.name, Number(it.listen.split(':')[1])]),
);

test('outbound calls without any Workload API: each way to get a token', { timeout: 60_000 }, async () => {
    const { issuer } = provider;
    const scope = ['billing:read'];
    const ca = file('ca.pem');
    const resource = 'https://billing.example/';
    const withSecret = (id) => ({ client_id: id, client_secret_file: file(`${id}.secret`), scope, ca });
    mountTokens();
    const listeners = [
        await outbound('basic', { client_credentials: { issuer, ...withSecret('orders-basic') } }),
        await outbound('post', {
            client_credentials: {
                token_endpoint: `${issuer}/token`,
                client_secret_in: 'post',
                resource,
                ...withSecret('orders-post'),
            },
        }),
        await outbound('key', {
            client_credentials: { issuer, assertion: { file: file('assertion') }, scope, ca },
        }),
        await outbound('exchange', {
            token_exchange: {
                issuer,
                subject_token: { file: file('service-account') },
                audience: 'billing',
                ...withSecret('orders-exchange'),
            },
        }),
        await outbound('steady', { client_credentials: { issuer, ...withSecret('orders-steady') } }),
    ];
    orders = await Sidecar.start('orders', { outbound: listeners });
    orders.outbound = ports(listeners);

    for (const [name, way] of Object.entries(WAYS)) {
        const answer = await callOut(name);
        assert.equal(answer.status, 200, `${name}: ${answer.text}`);
        const { headers } = answer.json();
        assert.equal(headers['x-sidegate-subject'], way.subject);
        assert.equal(headers['x-sidegate-scopes'], 'billing:read');
        assert.equal(headers['x-sidegate-method'], 'jwt');
        const grant = (await provider.issued()).find((it) => it.client === way.client);
        assert.deepEqual(grant.proof, way.proof);
    }
});

test('tokens are renewed under load, and no call fails or waits', { timeout: 120_000 }, async () => {
    const slow = 3_000;
    await provider.control({ failures: 4, delay: slow });
    const end = performance.now() + 35_000;
    const failures = [];
    let calls = 0;
    let slowest = 0;
    await Promise.all(Object.keys(WAYS).map(async (name) => {
        while (performance.now() < end) {
            const answer = await callOut(name).catch((error) => ({ status: 0, text: `${error}` }));
            calls += 1;
            slowest = Math.max(slowest, answer.took ?? Infinity);
            if (answer.status !== 200) {
                failures.push(`${name}: ${answer.status} ${answer.text}`);
            }
            await sleep(100);
        }
    }));
    await provider.control({ delay: 0 });
    assert.deepEqual(failures, []);
    assert.ok(slowest < slow - 500, `a call took ${slowest} ms`);
    assert.ok(calls > 400, `only ${calls} calls`);
    const lines = billing.audit().trimEnd().split('\n').map((line) => JSON.parse(line));
    let failed = 0;
    for (const [name, way] of Object.entries(WAYS)) {
        const renewals = await orders.figure(`sidegate_token_renewals_total{listener="${name}"}`);
        assert.ok(renewals >= 3, `${name}: ${renewals} renewals`);
        const used = lines.filter((it) => it.source.subject === way.subject).map((it) => it.source.token);
        assert.ok(new Set(used).size >= 3, `${name}: ${new Set(used).size} tokens were used`);
        failed += await orders.figure(`sidegate_token_failures_total{listener="${name}"}`);
    }
    assert.ok(failed >= 4, `${failed} renewals failed and were tried again`);
});

test('while the provider is away, what is known goes on', { timeout: 120_000 }, async () => {
    const known = await provider.token('caller-RS256');
    assert.equal((await call(known)).status, 200);
    const fresh = await provider.token('caller-PS256');
    await provider.control({ rotate: 'EdDSA' });
    const unknown = await provider.token('caller-EdDSA');
    await provider.stop();

    assert.equal((await call(known)).status, 200);
    assert.equal((await call(fresh)).status, 200, 'never seen, but its key is known');
    assert.equal((await callOut('steady')).status, 200);
    const refused = await call(unknown);
    await assertRefused(refused, invalid(/unknown_key/));
    assert.ok(refused.took < 5_000, `it took ${refused.took} ms`);

    await provider.start();
    await until('tokens of the new keys', async () => (await call(await provider.token('caller-RS256'))).status === 200);
    for (const name of Object.keys(WAYS)) {
        await until(`${name} to go on`, async () => (await callOut(name)).status === 200, 90_000);
    }
});

test('a client that is refused says so, and calls nobody', { timeout: 60_000 }, async () => {
    const { issuer } = provider;
    secret('wrong', 'orders-locked');
    const wrong = file('wrong.secret');
    const right = file('orders-locked.secret');
    const ask = (client_secret_file, ca) => ({
        client_credentials: { issuer, client_id: 'orders-locked', client_secret_file, ca },
    });
    const listeners = [
        await outbound('refused', ask(wrong, file('ca.pem'))),
        await outbound('impostor', ask(right, file('stranger.pem'))),
    ];
    locked = await Sidecar.start('locked', { outbound: listeners }, { ready: false });
    locked.outbound = ports(listeners);

    const before = app.reached;
    await until('the refusal in the log', async () => /invalid_client/.test(locked.output));
    for (const name of ['refused', 'impostor']) {
        const answer = await callOut(name, locked);
        assert.equal(answer.status, 503, answer.text);
        assert.equal(app.reached, before, 'the application heard of it');
        assert.equal(answer.json().error, 'identity_unavailable');
        assert.ok(Number(answer.headers['retry-after']) > 0);
        const reasons = (await locked.readiness()).reasons.map((it) => `${it.code} ${it.message}`);
        assert.ok(reasons.some((it) => it.startsWith(`token_unavailable \`${name}\``)), reasons.join('\n'));
    }
    const told = (await provider.control()).refused.filter((it) => it.why === 'invalid secret provided');
    assert.ok(told.length > 0, 'the provider saw the wrong secret');
    const issued = (await provider.issued()).filter((it) => it.client === 'orders-locked');
    assert.deepEqual(issued, [], 'the right secret never went to a server that nobody vouches for');
    assert.ok(await provider.token('orders-locked'), 'with it there would have been a token');
});

test('no token, key or secret is said anywhere', async () => {
    const said = { answers: answers.join('\n') };
    for (const it of [billing, strict, orders, locked]) {
        const readiness = JSON.stringify(await it.readiness());
        said[it.name] = [await it.metrics(), readiness, it.audit(), it.output].join('\n');
    }
    const tokens = (await provider.issued()).flatMap((it) => it.tokens);
    assert.ok(tokens.length > 50, `only ${tokens.length} tokens`);
    const wanted = needles(tokens);
    assert.deepEqual(leaks(said, wanted), []);

    const planted = { log: `a line with ${tokens.at(-1)} in it`, other: 'a line without' };
    assert.equal(leaks(planted, wanted).length, 2, 'it would have been found');
    assert.ok(said.billing.includes(SERVICE_ACCOUNT) && said.locked.includes('invalid_client'));
});
