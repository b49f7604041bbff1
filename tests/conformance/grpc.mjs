// gRPC: the interoperability client and server of grpc-go, with two sidecars between them.

import { freePort, inbound, listening, outbound, program, server, sidecar } from './world.mjs';

const CASES = [
    'empty_unary', 'large_unary', 'client_streaming', 'server_streaming', 'ping_pong', 'empty_stream',
    'timeout_on_sleeping_server', 'cancel_after_begin', 'cancel_after_first_response',
    'status_code_and_message', 'special_status_message', 'custom_metadata', 'unimplemented_method',
    'unimplemented_service', 'pick_first_unary', 'orca_per_rpc', 'orca_oob', 'rpc_soak', 'channel_soak',
    'compute_engine_creds', 'service_account_creds', 'jwt_token_creds', 'per_rpc_creds', 'oauth2_auth_token',
    'google_default_credentials', 'compute_engine_channel_credentials',
];

const GOOGLE = /creds|credentials|auth_token/;

const OTHERS = ['pick_first_unary', 'orca_per_rpc', 'orca_oob'];

export const excused = [{
    cases: OTHERS,
    why: 'Fails in the same way with nothing between that client and that server, which does not answer what these ask for '
        + '(the first two are tried so each time).',
}, {
    cases: CASES.filter((name) => GOOGLE.test(name)),
    why: 'Speaks to Google\'s token services over TLS that the client begins itself. A client in front of a sidecar '
        + 'speaks plaintext to it, and tokens of users pass as any other header does.',
}];

export async function measure() {
    const [application, secure, plain] = [await freePort(), await freePort(), await freePort()];
    server('grpc-server', `${process.env.GO_TOOLS}/server`, ['--port', application]);
    await listening(application);
    await sidecar('server', { inbound: [inbound(secure, application)] });
    await sidecar('client', { outbound: [outbound(plain, secure)] });
    const cases = [];
    for (const id of CASES) {
        cases.push({ id, why: await judged(id, plain, application) });
    }
    return [{ against: 'client, two sidecars, server', cases }];
}

async function judged(id, plain, application) {
    if (GOOGLE.test(id) || id === 'orca_oob') {
        return 'not tried';
    }
    const why = await tried(id, plain);
    if (OTHERS.includes(id) && await tried(id, application) === undefined) {
        return undefined;
    }
    return why;
}

/** What went wrong. */
async function tried(name, port) {
    const words = ['--server_host', '127.0.0.1', '--server_port', port, '--test_case', name];
    const ran = await program(`${process.env.GO_TOOLS}/client`, words, { patience: 60_000 });
    return ran.status === 0 ? undefined : ran.stderr.trim().split('\n').at(-1);
}
