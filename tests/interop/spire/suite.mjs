// Sidegate beside real SPIRE: the walk-through of `docs/spire.md` as it stands there, and what an
// operator may see happen in a year, in some minutes: SVIDs live for one of them. The list of tests is
// the list of promises. They run side by side, each with a SPIRE of its own.

import * as assert from 'node:assert/strict';
import * as fs from 'node:fs';
import * as https from 'node:https';
import * as path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { application, authority, certificate, file, folder, until } from '../oidc/world.mjs';
import { TokenEndpoint } from './endpoint.mjs';
import { Shell, read } from './page.mjs';
import { Spire, discovery } from './spire.mjs';
import { BIN, Load, bearer, caller, freePort, outside, program, service, stopAll } from './world.mjs';

const PAGE = process.env.PAGE;

let app;
const started = [];

/** What is no program of the world, and ends with the suite whatever becomes of its test. */
function ours(it) {
    started.push(it);
    return it;
}

/** A trust domain with an agent, and `orders` in it. */
async function world(name, uid, { spire: settings, more, ...orders } = {}) {
    const spire = await Spire.start(`${name}.example`, settings);
    await spire.entry('orders', [`uid:${uid}`], ...(more ?? []));
    await spire.entry('shop', [`uid:${uid + 1}`]);
    await spire.startAgent();
    const it = await service(`${name}-orders`, uid, spire, app, orders.configuration, orders.inbound);
    return { spire, orders: it, expect: `${spire.id}/prod/orders` };
}

async function shopOf(name, uid, { spire, orders, expect }) {
    const shop = await caller(`${name}-shop`, uid + 1, spire, orders, expect);
    await Promise.all([orders.ready(), shop.ready()]);
    return shop;
}

async function status(url) {
    return (await fetch(url)).status;
}

/** One request by a machine token. The server's certificate is good for `localhost`. */
async function byToken(to, token) {
    const [host, port] = to.address.split(':');
    const answer = await new Promise((resolve, reject) => {
        https.get({ host, port, path: '/orders/17', agent: false, servername: 'localhost',
            ca: fs.readFileSync(file('web.pem')), headers: { authorization: `Bearer ${token}` } }, resolve)
            .on('error', reject);
    });
    await answer.resume().toArray();
    return answer.statusCode;
}

before(async () => {
    app = await application();
    authority('web');
    certificate('web', 'localhost');
    fs.chmodSync(file('web.pem'), 0o644);
});

after(async () => {
    await Promise.all(started.map((it) => it.stop()));
    await stopAll();
    app?.close();
    if (process.env.SIDEGATE_INTEROP_KEEP) {
        console.log(`kept: ${folder}`);
    } else {
        fs.rmSync(folder, { recursive: true });
    }
});

describe('beside SPIRE', { concurrency: true }, () => {
    test('the walk-through goes as its page says', async (t) => {
        const home = file('page');
        fs.mkdirSync(home, { mode: 0o755 });
        const shell = ours(new Shell(home, BIN));
        for (const step of await read(PAGE)) {
            const began = performance.now();
            await shell.run(step);
            t.diagnostic(`${step.heading}: ${Math.round((performance.now() - began) / 100) / 10} s`);
        }
    });

    test('sidecars before and after the agent, many rotations, agents that restart and crash: no call fails', async (t) => {
        const uid = 34100;
        const spire = await Spire.start('rotation.example');
        const [a, b] = [program('sidegate'), program('sidegate-b')];
        await spire.entry('orders', [`uid:${uid}`]);
        // Two workloads of one user, told apart by what they run.
        await spire.entry('shop', [`uid:${uid + 1}`, `path:${a}`]);
        await spire.entry('late', [`uid:${uid + 1}`, `path:${b}`]);
        const orders = await service('rotation-orders', uid, spire, app);
        const expect = `${spire.id}/prod/orders`;
        const shop = await caller('rotation-shop', uid + 1, spire, orders, expect);
        for (const it of [orders, shop]) {
            const startup = await it.answers('startup');
            assert.equal(startup.status, 503);
            assert.equal(startup.reasons[0].code, 'identity_starting');
        }
        assert.equal(await status(shop.url), 503);
        await spire.startAgent();
        await Promise.all([orders.ready(), shop.ready()]);
        const late = await caller('rotation-late', uid + 1, spire, orders, expect, { binary: 'sidegate-b' });
        await late.ready();

        const load = ours(new Load(shop.url, late.url));
        const sidecars = [orders, shop, late];
        const before = await Promise.all(sidecars.map((it) => it.rotations()));
        const rotations = async (from, to) => {
            for (let count = from; count <= to; count += 1) {
                await Promise.all(sidecars.map((it, at) => it.rotated(count, before[at])));
            }
        };
        await rotations(1, 1);
        for (const signal of ['SIGTERM', 'SIGKILL']) {
            await spire.stopAgent(signal);
            await Promise.all(sidecars.map((it) => it.state('stale')));
            for (const it of sidecars) {
                const told = await it.status();
                t.diagnostic(told.split('\n').find((line) => line.includes('identity')).trim());
            }
            load.holds(`while the agent is away after ${signal}`);
            await spire.startAgent();
            await Promise.all(sidecars.map((it) => it.state('fresh')));
        }
        await rotations(2, 8);
        const told = await load.stop();
        load.holds('through eight rotations and two restarts of the agent');
        t.diagnostic(told);
        const who = new Set(orders.lines().map(({ source }) => source.spiffe_id));
        assert.deepEqual([...who].sort(), [`${spire.id}/prod/late`, `${spire.id}/prod/shop`]);
    });

    test('without a server calls go on until the SVID ends, are refused then, and go on once it is back', async (t) => {
        const uid = 34200;
        const it = await world('outage', uid);
        const shop = await shopOf('outage', uid, it);
        const load = ours(new Load(shop.url));
        await shop.rotated(1);
        await it.spire.stopServer('SIGKILL');
        const ends = async (of) => await of.figure('sidegate_svid_not_after_timestamp_seconds') * 1000;
        const end = Math.min(await ends(shop), await ends(it.orders));
        const half = end - 35_000;
        await until('half of the life of the SVID', async () => Date.now() > half, 120_000);
        load.holds('past half of the life of the SVID');
        await shop.state('stale');
        assert.match((await shop.answers('ready')).status.toString(), /200/);
        t.diagnostic((await shop.status()).split('\n').find((line) => line.includes('identity')));
        await shop.state('expired');
        await it.orders.state('expired');
        assert.ok(Date.now() >= end, 'expired before its time');
        await until('a refused call', async () => load.failures.length > 0);
        const [first] = load.failures;
        t.diagnostic(`the first call was refused ${(first.at - end) / 1000} s after the end of the SVID: ${first.text}`);
        assert.ok(first.at >= end - 2_000, `refused ${end - first.at} ms before the end of the SVID: ${JSON.stringify(first)}`);
        const refused = load.calls;
        await until('more calls', async () => load.calls > refused + 50);
        const last = load.failures.at(-1);
        assert.equal(last.status, 503);
        assert.equal(JSON.parse(last.text).error, 'identity_unavailable');
        const ready = await shop.answers('ready');
        assert.equal(ready.status, 503);
        assert.equal(ready.reasons[0].code, 'identity_expired');
        assert.match(await shop.status(), /^NOT READY[^]*identity_expired[^]*identity +expired/);
        assert.match(shop.output, /ERROR.*Workload API.*state="expired"/);

        const back = performance.now();
        await it.spire.startServer();
        await Promise.all([shop.ready(), it.orders.ready()]);
        await until('a call', async () => await status(shop.url) === 200, 60_000);
        t.diagnostic(`refusals: ${JSON.stringify(load.refusals())}`);
        t.diagnostic(`calls went on ${Math.round((performance.now() - back) / 1000)} s after the server was started`);
        t.diagnostic(await load.stop());
    });

    test('a deleted entry ends what was open and lets nothing new out; a changed one is a new name at once', async (t) => {
        const uid = 34300;
        const it = await world('entries', uid);
        const { spire, orders } = it;
        const shop = await shopOf('entries', uid, it);
        const load = ours(new Load(shop.url));
        await until('calls', async () => load.calls > 20);

        await spire.change('shop', 'store', [`uid:${uid + 1}`]);
        const line = await orders.line('a call under the new name', ({ source }) => source.spiffe_id === `${spire.id}/prod/store`);
        assert.equal(line.decision, 'allow');
        await until('more calls', async () => load.calls > 200);
        t.diagnostic(await load.stop());
        load.holds('while the entry changed');
        // Not all connections are renewed at once; none of them is left with the old name after a while.
        const open = orders.lines().length;
        for (let count = 0; count < 20; count += 1) {
            assert.equal(await status(shop.url), 200);
        }
        await until('their audit lines', async () => orders.lines().length >= open + 20);
        const names = new Set(orders.lines().slice(open).map(({ source }) => source.spiffe_id));
        assert.deepEqual([...names], [`${spire.id}/prod/store`]);

        await spire.forget('shop');
        await shop.state('denied');
        assert.equal(await status(shop.url), 503);
        const ready = await shop.answers('ready');
        assert.equal(ready.status, 503);
        assert.equal(ready.reasons[0].code, 'identity_denied');
        assert.match(ready.reasons[0].message, /issues no identity/);
        assert.match(await shop.status(), /^NOT READY[^]*identity_denied[^]*identity +denied/);
        assert.match(shop.output, /ERROR.*Workload API.*state="denied"/);
        await shop.until('its connections to be closed', async () => await shop.figure('sidegate_upstream_connections_open') === 0);
        assert.equal((await orders.answers('ready')).status, 200);

        await spire.entry('shop', [`uid:${uid + 1}`]);
        await shop.ready();
        await until('a call', async () => await status(shop.url) === 200);

        // The called side loses its identity: it can prove itself to nobody, and says so to nobody.
        await spire.forget('orders');
        await orders.state('denied');
        assert.equal(await status(shop.url), 503);
        await spire.entry('orders', [`uid:${uid}`]);
        await orders.ready();
        await until('a call', async () => await status(shop.url) === 200);
    });

    test('an authority is prepared, activated, tainted and revoked under load: no call fails', async (t) => {
        const uid = 34400;
        const it = await world('authority', uid);
        const { spire, orders } = it;
        const shop = await shopOf('authority', uid, it);
        const load = ours(new Load(shop.url));
        for (let round = 0; round < 2; round += 1) {
            const [old, next] = [await spire.authority('x509'), await spire.prepare('x509')];
            await until('two authorities', async () => await spire.authorities(uid) === 2, 60_000);
            await spire.authorityStep('x509', 'activate', next);
            const before = await Promise.all([orders, shop].map((of) => of.rotations()));
            await spire.authorityStep('x509', 'taint', old);
            await Promise.all([orders, shop].map((of, at) => of.rotated(1, before[at])));
            await spire.authorityStep('x509', 'revoke', old);
            await until('one authority', async () => await spire.authorities(uid) === 1, 60_000);
            load.holds(`round ${round}`);
        }
        const calls = load.calls;
        await until('calls by the new authority alone', async () => load.calls > calls + 100);
        t.diagnostic(await load.stop());
        load.holds('with the last authority');
        // SPIRE's agent may deny for a moment, while it renews what was tainted.
        t.diagnostic(`denials that were taken back: ${[orders, shop].map((of) => of.output.split('asked once more').length - 1)}`);
    });

    test('a trust domain is federated, changes its authority under load, and is let go', async (t) => {
        const uid = 34500;
        const web = { chain: file('localhost.pem'), key: file('localhost.key') };
        const partner = await Spire.start('far.example', { web });
        const it = await world('near', uid, {
            spire: { trusts: file('web.pem') },
            configuration: { identity: { federates_with: ['far.example'] }, more: { jwt: { svid: { audience: ['orders'] } } } },
            inbound: { accept: ['spiffe', 'jwt'], certificate: web },
        });
        const { spire, orders, expect } = it;
        await partner.startAgent();
        await spire.federate(partner);
        await partner.federate(spire);
        await partner.entry('courier', [`uid:${uid + 2}`], '-federatesWith', spire.id);
        const identity = { federates_with: ['near.example'] };
        const courier = await caller('near-courier', uid + 2, partner, orders, expect, { identity });
        await Promise.all([orders.ready(), courier.ready()]);
        // `orders` has not been given the foreign bundle yet.
        assert.equal(await status(courier.url), 502);
        const federate = () => spire.change('orders', 'orders', [`uid:${uid}`], '-federatesWith', partner.id);
        await federate();
        await until('a call across', async () => await status(courier.url) === 200, 60_000);
        const token = await partner.token(uid + 2, 'orders');
        await until('a call by a foreign JWT-SVID', async () => await byToken(orders, token) === 200, 60_000);

        const load = ours(new Load(courier.url));
        const old = await partner.authority('x509');
        const next = await partner.prepare('x509');
        // SPIRE asks a bundle endpoint once a minute at most, unless it is told to.
        const authorities = async (count) => {
            await spire.server('federation', 'refresh', '-id', partner.id);
            const known = async () => (await spire.server('bundle', 'list', '-id', partner.id)).split('BEGIN CERT').length - 1;
            await until(`${count} authorities from the bundle endpoint`, async () => await known() === count, 90_000);
            await until('the agent to have them', async () => await spire.authorities(uid) === count + 1, 60_000);
        };
        await authorities(2);
        await partner.authorityStep('x509', 'activate', next);
        const before = await courier.rotations();
        await partner.authorityStep('x509', 'taint', old);
        await courier.rotated(1, before);
        await partner.authorityStep('x509', 'revoke', old);
        await authorities(1);
        load.holds('while the far authority changed');

        await spire.change('orders', 'orders', [`uid:${uid}`]);
        const refused = () => until('a refused call', async () => await status(courier.url) === 502, 60_000);
        await refused();
        await load.stop();
        await until('a refused token', async () => await byToken(orders, token) === 401, 60_000);
        const line = await orders.line('why', ({ detail }) => detail?.includes('(unknown_trust_domain)'));
        assert.equal(line.reason, 'unauthenticated');
        await federate();
        await until('a call across', async () => await status(courier.url) === 200, 60_000);
        await spire.server('federation', 'delete', '-id', partner.id);
        await spire.server('bundle', 'delete', '-id', partner.id, '-mode', 'dissociate');
        await refused();
        assert.equal((await orders.answers('ready')).status, 200);
    });

    test('JWT-SVIDs are machine tokens by the bundles of the agent, through a change of their authority', async () => {
        const uid = 34600;
        const issuer = `https://localhost:${await freePort()}`;
        const web = { chain: file('localhost.pem'), key: file('localhost.key') };
        const it = await world('tokens', uid, {
            spire: { issuer },
            configuration: { more: { jwt: { svid: { audience: ['orders'] } } } },
            inbound: { accept: ['spiffe', 'jwt'], certificate: web },
        });
        const { spire, orders } = it;
        await orders.ready();
        await spire.entry('batch', [`uid:${uid + 2}`], '-jwtSVIDTTL', '300');
        const fetched = (audience) => until('a JWT-SVID', () => spire.token(uid + 2, audience).catch(() => false), 60_000);
        const first = await fetched('orders');
        assert.equal(await byToken(orders, first), 200);
        const line = await orders.line('the call', ({ source }) => source.spiffe_id === `${spire.id}/prod/batch`);
        assert.equal(line.source.method, 'jwt-svid');
        assert.equal(await byToken(orders, await fetched('somebody-else')), 401);

        // A machine without an agent, which is given its token as a file.
        const given = file('tokens-batch.jwt');
        fs.writeFileSync(given, first, { mode: 0o600 });
        fs.chownSync(given, uid + 3, uid + 3);
        const batch = await bearer('tokens-batch', uid + 3, orders, { file: given });
        await batch.ready();
        assert.equal(await status(batch.url), 200);

        const [old, next] = [await spire.authority('jwt'), await spire.prepare('jwt')];
        await spire.authorityStep('jwt', 'activate', next);
        const kid = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid;
        // Another audience each time: the agent keeps a token for each.
        let count = 0;
        const second = await until('a token of the new authority', async () => {
            count += 1;
            const token = await spire.token(uid + 2, `orders,other-${count}`);
            return kid(token) !== kid(first) && token;
        }, 60_000);
        await until('the new key to hold', async () => await byToken(orders, second) === 200, 60_000);
        assert.equal(await byToken(orders, first), 200);
        await spire.authorityStep('jwt', 'taint', old);
        await spire.authorityStep('jwt', 'revoke', old);
        await until('the old key to be withdrawn', async () => await byToken(orders, first) === 401, 60_000);
        assert.equal(await byToken(orders, second), 200);
        assert.equal(await status(batch.url), 401);
    });

    test('by its OIDC discovery provider others know workloads: an issuer of tokens does, and we do not', async () => {
        const uid = 34700;
        const issuer = `https://localhost:${await freePort()}`;
        const web = { chain: file('localhost.pem'), key: file('localhost.key') };
        const spire = await Spire.start('issuer.example', { issuer });
        await spire.startAgent();
        await spire.entry('batch', [`uid:${uid + 2}`]);
        await discovery(spire, issuer, web);
        const endpoint = ours(await TokenEndpoint.start(issuer, web, file('web.pem')));
        fs.writeFileSync(file('endpoint.jwks'), endpoint.jwks);
        const issuers = [{ issuer, ca: file('web.pem') }, { issuer: endpoint.issuer, keys: { file: file('endpoint.jwks') } }];
        const vm = await outside('issuer-vm', uid, app, issuers, web);
        const series = `sidegate_issuer_keys_state{issuer="${issuer}",state="fresh"}`;
        await vm.until('keys by discovery', async () => await vm.figure(series) === 1);
        assert.equal((await vm.answers('ready')).status, 200);
        const token = await until('a JWT-SVID', () => spire.token(uid + 2, 'orders').catch(() => false), 60_000);
        assert.equal(JSON.parse(Buffer.from(token.split('.')[1], 'base64url')).iss, issuer);
        // It holds, and yet no issuer names workloads: SPIFFE IDs are believed by trust bundles alone.
        assert.equal(await byToken(vm, token), 401);
        const line = await vm.line('why', ({ reason }) => reason === 'invalid_token');
        assert.match(line.detail, /SPIFFE|sub/);

        // A workload of SPIRE calls a machine outside of it: by a token that its JWT-SVID was good for.
        const assertion = { jwt_svid: { audience: endpoint.issuer } };
        const present = { client_credentials: { token_endpoint: `${endpoint.issuer}/token`, ca: file('web.pem'), assertion } };
        const more = { identity: { workload_api: `unix://${spire.workloadApi}` } };
        const batch = await bearer('issuer-batch', uid + 2, vm, present, more);
        await batch.ready();
        await until('a call by token', async () => await status(batch.url) === 200, 60_000);
        assert.deepEqual(endpoint.refused, []);
        assert.equal(endpoint.issued[0], `${spire.id}/prod/batch`);
        const allowed = await vm.line('the call', ({ decision }) => decision === 'allow');
        assert.equal(allowed.source.subject, 'batch');
    });

    test('of several identities the one that is configured is used, by its ID or by its hint', async () => {
        const uid = 34800;
        const it = await world('several', uid);
        const { spire, orders, expect } = it;
        await spire.entry('inner', [`uid:${uid + 2}`], '-hint', 'internal');
        await spire.entry('outer', [`uid:${uid + 2}`], '-hint', 'external');
        const by = async (name, identity) => await caller(`several-${name}`, uid + 2, spire, orders, expect, { identity });
        const inner = await by('inner', { spiffe_id: `${spire.id}/prod/inner` });
        const outer = await by('outer', { hint: 'external' });
        const nobody = await by('nobody', { hint: 'another' });
        await Promise.all([orders, inner, outer].map((of) => of.ready()));
        for (const [of, name] of [[inner, 'inner'], [outer, 'outer']]) {
            assert.equal(await status(of.url), 200);
            await orders.line(`the call of ${name}`, ({ source }) => source.spiffe_id === `${spire.id}/prod/${name}`);
        }
        await nobody.state('denied');
        assert.equal(await status(nobody.url), 503);
        const [why] = (await nobody.answers('ready')).reasons;
        assert.match(why.message, /does not offer the hint `another`; it offers .*prod\/outer` \(hint `external`\)/);

        // One goes, the other is not touched.
        await spire.forget('outer');
        await outer.state('denied');
        assert.equal(await status(outer.url), 503);
        assert.equal(await status(inner.url), 200);
    });
});
