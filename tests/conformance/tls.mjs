// TLS: what sslyze finds at the inbound listener, as it is by default and with TLS 1.2 let in.

import * as fs from 'node:fs';
import * as http from 'node:http';
import { once } from 'node:events';

import { file, freePort, inbound, program, sidecar, svid } from './world.mjs';

const SUITES_13 = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];
const SUITES_12 = ['ECDSA', 'RSA'].flatMap((key) => ['AES_128_GCM_SHA256', 'AES_256_GCM_SHA384', 'CHACHA20_POLY1305_SHA256']
    .map((cipher) => `TLS_ECDHE_${key}_WITH_${cipher}`));

const CERTIFICATE = 'a certificate is asked for';

export const excused = [{
    cases: [CERTIFICATE],
    why: 'A client of TLS 1.3 is done before the server has judged its certificate (RFC 8446 section 4.4.2.4), and '
        + 'sslyze looks no further. `tests/it/attacks.rs` does: nobody without a certificate is served.',
}, {
    cases: ['TLS 1.2'],
    against: 'inbound, with TLS 1.2',
    why: 'sslyze tries the suites with AES by an OpenSSL that does not know the extended master secret (RFC 7627), '
        + 'which is required here. The one with ChaCha20 it tries by a newer one, and that is accepted.',
}];

export async function measure() {
    const application = http.createServer((request, response) => response.end('answer'));
    application.listen(0, '127.0.0.1');
    await once(application, 'listening');
    const identity = await svid('client');
    const [cert, key] = [file('client.pem'), file('client.key')];
    fs.writeFileSync(cert, identity.cert);
    fs.writeFileSync(key, identity.key, { mode: 0o600 });
    const measured = [];
    for (const [against, allowed] of [['inbound', false], ['inbound, with TLS 1.2', true]]) {
        const port = await freePort();
        const it = await sidecar(allowed ? 'server' : 'client', {
            inbound: [inbound(port, application.address().port)],
            tls: { allow_tls12: allowed },
        });
        measured.push({ against, cases: judged(await scanned(port, cert, key), allowed) });
        await it.stop();
    }
    application.close();
    return measured;
}

async function scanned(port, cert, key) {
    const out = file(`sslyze-${port}.json`);
    const ran = await program('python3', [
        '-m', 'sslyze', '--json_out', out, '--quiet', '--cert', cert, '--key', key, '--mozilla_config', 'disable',
        '--certinfo', '--sslv2', '--sslv3', '--tlsv1', '--tlsv1_1', '--tlsv1_2', '--tlsv1_3', '--heartbleed',
        '--openssl_ccs', '--fallback', '--robot', '--compression', '--reneg', '--resum', '--early_data',
        '--elliptic_curves', '--ems', `127.0.0.1:${port}`,
    ], { env: { ...process.env, PYTHONPATH: process.env.SSLYZE } });
    if (!fs.existsSync(out)) {
        throw new Error(`sslyze: ${ran.stdout} ${ran.stderr}`);
    }
    return JSON.parse(fs.readFileSync(out, 'utf8')).server_scan_results[0];
}

/** Each check with what was found in place of what should have been. */
function judged({ connectivity_result: reached, scan_result: scan }, tls12) {
    const of = (name) => scan[name].result;
    const suites = (name) => of(name).accepted_cipher_suites.map((it) => it.cipher_suite.name).sort();
    const not = (asked) => (asked ? 'NOT_SUPPORTED' : 'SERVER_IS_TLS_1_3_ONLY');
    const shown = SUITES_12.filter((it) => it.includes('ECDSA'));
    const checks = {
        [CERTIFICATE]: [reached.client_auth_requirement, 'REQUIRED'],
        'SSL 2.0': [suites('ssl_2_0_cipher_suites'), []],
        'SSL 3.0': [suites('ssl_3_0_cipher_suites'), []],
        'TLS 1.0': [suites('tls_1_0_cipher_suites'), []],
        'TLS 1.1': [suites('tls_1_1_cipher_suites'), []],
        'TLS 1.2': [suites('tls_1_2_cipher_suites'), tls12 ? shown.sort() : []],
        'TLS 1.3': [suites('tls_1_3_cipher_suites'), SUITES_13],
        'Heartbleed': [of('heartbleed').is_vulnerable_to_heartbleed, false],
        'early change of the cipher (CVE-2014-0224)': [of('openssl_ccs_injection').is_vulnerable_to_ccs_injection, false],
        'ROBOT': [of('robot').robot_result, 'NOT_VULNERABLE_RSA_NOT_SUPPORTED'],
        'compression': [of('tls_compression').supports_compression, false],
        'renegotiation by the client': [of('session_renegotiation').is_vulnerable_to_client_renegotiation_dos, false],
        'early data': [of('tls_1_3_early_data').supports_early_data, false],
        'resumption by identifier': [of('session_resumption').session_id_resumption_result, not(tls12)],
        'resumption by ticket': [of('session_resumption').tls_ticket_resumption_result, not(tls12)],
        'extended master secret': [of('tls_extended_master_secret').supports_ems_extension, true],
        'curves': [of('elliptic_curves').supported_curves?.map((it) => it.name).sort(), ['X25519', 'secp256r1', 'secp384r1']],
    };
    return Object.entries(checks).map(([id, [found, right]]) => {
        const [is, should] = [found, right].map((it) => JSON.stringify(it));
        return { id, why: is === should ? undefined : `${is}, and should be ${should}` };
    });
}
