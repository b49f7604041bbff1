// Runs what `docs/spire.md` tells people to type, in the order of the page and in one shell, and holds
// what is printed against what the page says is printed. Only ports are others than on the page.

import * as assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';

import { until } from '../oidc/world.mjs';
import { freePort } from './world.mjs';

const PATIENCE = 240_000;
const PORTS = [/127\.0\.0\.1:(\d+)/g, /port = "?(\d+)/g, /s\/(\d{4})\//g, /s\/\d{4}\/(\d{4})\//g];

/** The page's steps: heading, commands, and what they print, if the page says. */
export async function read(path) {
    const text = await onFreePorts(fs.readFileSync(path, 'utf8'));
    const steps = [];
    let heading = '';
    for (const part of text.split(/^(?=## |```)/m)) {
        const [first] = part.split('\n', 1);
        const body = part.slice(first.length + 1);
        if (first.startsWith('## ')) {
            heading = first.slice(3);
        } else if (first === '```sh') {
            steps.push({ heading, commands: body, prints: [] });
        } else if (first === '```text') {
            steps.at(-1).prints = body.trimEnd().split('\n');
        }
    }
    assert.ok(steps.length >= 12, `only ${steps.length} blocks of commands were found in ${path}`);
    return steps;
}

async function onFreePorts(text) {
    const ports = new Map();
    for (const port of PORTS.flatMap((pattern) => [...text.matchAll(pattern)].map(([, it]) => it))) {
        if (!ports.has(port)) {
            ports.set(port, await freePort());
        }
    }
    return text.replaceAll(/\b\d{4}\b/g, (port) => ports.get(port) ?? port);
}

/** A shell as a person would have it: what one step defines, the next one uses. */
export class Shell {
    #output = '';

    #ended = false;

    constructor(cwd, path) {
        const env = { ...process.env, PATH: `${path}:${process.env.PATH}` };
        // A group of its own, so that all that was started ends with it.
        this.child = spawn('bash', ['--norc'], { cwd, env, detached: true, stdio: ['pipe', 'pipe', 'ignore'] });
        this.child.stdout.setEncoding('utf8').on('data', (text) => {
            this.#output += text;
        });
        this.child.on('close', () => {
            this.#ended = true;
        });
        this.child.stdin.write('exec 2>&1; umask 022\n');
    }

    async run({ heading, commands, prints }) {
        const end = /^-- done (\d+)$/m;
        this.#output = '';
        this.child.stdin.write(`${commands}\nprintf '\\n-- done %d\\n' $?\n`);
        const ended = async () => end.test(this.#output) || this.#ended;
        await until(heading, ended, PATIENCE).catch((cause) => {
            throw new Error(`${cause.message}:\n${commands}\n${this.#output}`);
        });
        const status = this.#output.match(end)?.[1];
        assert.equal(status, '0', `${heading}:\n${commands}\n${this.#output}`);
        const missing = notPrinted(prints, this.#output.split('\n'));
        assert.ok(missing === undefined, `${heading} does not print \`${missing}\`:\n${this.#output}`);
    }

    stop() {
        try {
            process.kill(-this.child.pid, 'SIGKILL');
        } catch {
            // All have ended by themselves.
        }
    }
}

/** The first line that is not there, in order; `…` stands for anything. */
function notPrinted(wanted, lines) {
    let at = 0;
    return wanted.find((line) => {
        const parts = line.split('…').map((it) => it.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
        const pattern = new RegExp(`^${parts.join('.*')}\\s*$`);
        const found = lines.findIndex((it, place) => place >= at && pattern.test(it));
        at = found + 1;
        return found === -1;
    });
}
