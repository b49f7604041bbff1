// The generated section of `docs/conformance.md`: two tables, of which a run replaces the rows of the suites
// that it could try. Those of others stay.

import * as fs from 'node:fs';
import * as path from 'node:path';

const DOCUMENT = path.join(import.meta.dirname, '../../docs/conformance.md');
const HEADING = '## Suites of others\n';
const RESULTS = '| suite | version | against | passed | failed | not applicable |\n| --- | --- | --- | ---: | ---: | ---: |\n';
const REASONS = '| suite | cases | why they do not apply |\n| --- | --- | --- |\n';

/** Holds the page against a result, or writes it. Answers with the lines that differ. */
export function put({ title, rows, reasons }, write) {
    const document = fs.readFileSync(DOCUMENT, 'utf8');
    const begin = document.indexOf(HEADING);
    const end = document.indexOf('\n## ', begin + HEADING.length) + 1;
    const before = document.slice(begin, end);
    const results = rows.map((it) => `| ${title} | ${it.version} | ${it.against} | ${it.passed} | ${it.failed} | ${it.excused} |\n`);
    const because = reasons.map((it) => `| ${title} | ${it.cases} | ${it.why} |\n`);
    const after = replaced(replaced(before, RESULTS, title, results), REASONS, title, because);
    if (before === after) {
        return '';
    }
    if (write) {
        fs.writeFileSync(DOCUMENT, document.slice(0, begin) + after + document.slice(end));
        return '';
    }
    const lines = (text) => new Set(text.split('\n'));
    const [was, is] = [lines(before), lines(after)];
    return [...[...was].filter((it) => !is.has(it)).map((it) => `- ${it}`),
        ...[...is].filter((it) => !was.has(it)).map((it) => `+ ${it}`)].join('\n');
}

/** The section with other rows of this suite in the table that begins like that, sorted by suite. */
function replaced(section, table, title, rows) {
    const begin = section.indexOf(table) + table.length;
    const end = section.indexOf('\n\n', begin - 1) + 1;
    const others = section.slice(begin, end || section.length).split(/(?<=\n)/)
        .filter((row) => row.startsWith('| ') && !row.startsWith(`| ${title} |`));
    const suite = (row) => row.split('|')[1];
    const all = [...others, ...rows].map((row, at) => [suite(row), at, row])
        .sort(([one, first], [other, second]) => (one < other ? -1 : one > other ? 1 : first - second));
    return section.slice(0, begin) + all.map(([, , row]) => row).join('') + section.slice(end || section.length);
}
