#!/usr/bin/env node
// Each dashboard in infra/monitoring/grafana/: Grafana's own types take it, it belongs to no one Grafana, and on a real
// Prometheus, which scrapes what a core and the edge give, every query of every panel has an answer.
//
// Needs what `tools/setup.sh native lint` sets up, with .toolchain/bin on PATH.
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = 'infra/monitoring/grafana';
const samples = 'infra/monitoring/tests';
// Jobs as infra/monitoring/prometheus.yml has them: what they give and with which labels.
const JOBS = [
  { job: 'regional-core', labels: '{ region: smp-asia }' },
  { job: 'edge', labels: '{}' },
];
// Of Grafana's own variables, and a time that Prometheus has data of.
const BUILT_IN = { __rate_interval: '1m', __interval: '1m', __range: '1m' };
const SCRAPES = 4;
const PATIENCE_MS = 30_000;

const problems = [];
const problem = (text) => problems.push(text);
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// --- what Grafana's types do not say -------------------------------------------------------------------

const panelsOf = (dashboard) => dashboard.panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]);

// All objects of a JSON document, with where they stand.
function* objectsOf(value, path = '') {
  if (value === null || typeof value !== 'object') return;
  yield [value, path];
  for (const [key, inner] of Object.entries(value)) yield* objectsOf(inner, `${path}/${key}`);
}

function checkPortable(name, dashboard) {
  for (const key of ['id', 'uid', '__inputs', '__requires'])
    if (dashboard[key] !== undefined) problem(`${name}: '${key}' is of one Grafana only: leave it out`);
  for (const [object, path] of objectsOf(dashboard))
    if (object.datasource !== undefined && object.datasource?.uid !== '${datasource}')
      problem(`${name}${path}: its data source is not \${datasource}`);
  const ids = new Set();
  const taken = new Map();
  for (const panel of panelsOf(dashboard)) {
    const where = `${name}: panel '${panel.title}'`;
    if (ids.has(panel.id)) problem(`${where}: another one has its id, ${panel.id}`);
    ids.add(panel.id);
    const { x, y, w, h } = panel.gridPos;
    if (x < 0 || w < 1 || x + w > 24) problem(`${where}: it is not within the 24 columns`);
    for (let row = y; row < y + h; row += 1)
      for (let column = x; column < x + w; column += 1) {
        const place = `${column},${row}`;
        if (taken.has(place)) return problem(`${where}: it covers '${taken.get(place)}'`);
        taken.set(place, panel.title);
      }
    if (panel.type !== 'row' && !(panel.targets?.length > 0)) problem(`${where}: it asks for nothing`);
    const letters = (panel.targets ?? []).map((target) => target.refId);
    if (new Set(letters).size !== letters.length) problem(`${where}: two queries have one refId`);
  }
}

// --- Grafana's types -----------------------------------------------------------------------------------

const PANELS = {
  stat: { file: 'stat/panelcfg/x/StatPanelCfg_types.gen', custom: 'never' },
  timeseries: { file: 'timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen', custom: 'timeseries.FieldConfig' },
  table: { file: 'table/panelcfg/x/TablePanelCfg_types.gen', custom: 'table.FieldConfig' },
  statetimeline: {
    type: 'state-timeline',
    file: 'statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen',
    custom: 'statetimeline.FieldConfig',
  },
};

const TYPES = `
import type * as grafana from '@grafana/schema';
${Object.entries(PANELS)
  .map(([name, { file }]) => `import type * as ${name} from '@grafana/schema/dist/esm/raw/composable/${file}';`)
  .join('\n')}

// JSON has a string where TypeScript has an enum.
type Json<T> = T extends string ? (string extends T ? string : \`\${T}\`)
  : T extends (infer Item)[] ? Json<Item>[]
  : T extends object ? { [Key in keyof T]: Json<T[Key]> }
  : T;

// Grafana leaves a panel's query, options and custom fields open: these are Prometheus's, and those of each panel.
type Query = {
  refId: string; datasource: grafana.DataSourceRef; editorMode: 'code' | 'builder'; expr: string;
  format: 'time_series' | 'table' | 'heatmap'; instant: boolean; range: boolean; legendFormat: string;
};
type Fields<Custom> = {
  defaults: Omit<grafana.FieldConfig, 'custom'> & { custom?: Custom };
  overrides: { matcher: { id: string; options: string }; properties: { id: string; value: unknown }[] }[];
};
type Of<Type extends string, Options, Custom> =
  Omit<grafana.Panel, 'type' | 'targets' | 'options' | 'fieldConfig' | 'id' | 'gridPos' | 'title'> & {
    type: Type; id: number; title: string; gridPos: grafana.GridPos;
    options: Options; fieldConfig: Fields<Custom>; targets: Query[];
  };
type Panel = ${Object.entries(PANELS)
  .map(([name, { type = name, custom }]) => `Of<'${type}', ${name}.Options, ${custom}>`)
  .join(' | ')};
type Dashboard = Json<Omit<grafana.Dashboard, 'panels'> & { panels: (Panel | grafana.RowPanel)[] }>;
`;

async function checkTypes(dashboards, dir) {
  // The file lies in the repository's node_modules, where its imports are found from.
  const files = dashboards.map(({ name, text }) => {
    const file = join(dir, `${name}.ts`);
    writeFileSync(file, `${TYPES}\nconst dashboard: Dashboard = ${text};\nexport default dashboard;\n`);
    return file;
  });
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const options = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--module', 'nodenext'];
  try {
    await promisify(execFile)(process.execPath, [compiler, ...options, ...files], { cwd: dir });
  } catch (failure) {
    if (!failure.stdout) throw failure;
    const before = TYPES.split('\n').length;
    // Lines as they are in the JSON; the first line of the literal has the declaration before it.
    const place = (_, file, line) => `${folder}/${file}(${line - before},`;
    problem(failure.stdout.trim().replace(/^(.*)\.ts\((\d+),/gm, place));
  }
}

// --- a real Prometheus ---------------------------------------------------------------------------------

function serveSamples() {
  const scrapes = new Map();
  const text = new Map(JOBS.map(({ job }) => [job, readFileSync(join(root, samples, `${job}.prom`), 'utf8')]));
  const server = createServer((request, response) => {
    const job = request.url.slice(1);
    const scrape = (scrapes.get(job) ?? 0) + 1;
    scrapes.set(job, scrape);
    const lines = text.get(job).split('\n').map((line) => {
      if (line === '' || line.startsWith('#')) return line;
      const [, series, value] = /^(.*) (\S+)$/.exec(line);
      if (value === 'NOW') return `${series} ${Date.now() / 1000}`;
      const isCounter = /_(total|bucket|sum|count)(\{|$)/.test(series);
      return isCounter ? `${series} ${Number(value) * scrape}` : line;
    });
    response.setHeader('content-type', 'text/plain; version=0.0.4');
    response.end(lines.join('\n'));
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

function startPrometheus(dir, port) {
  const jobs = JOBS.map(
    ({ job, labels }) => `  - job_name: ${job}
    metrics_path: /${job}
    static_configs: [{ targets: ["127.0.0.1:${port}"], labels: ${labels} }]
`,
  );
  writeFileSync(
    join(dir, 'prometheus.yml'),
    `global: { scrape_interval: 400ms, scrape_timeout: 400ms }\nscrape_configs:\n${jobs.join('')}`,
  );
  const prometheus = spawn(
    'prometheus',
    ['--config.file=prometheus.yml', '--storage.tsdb.path=data', '--web.listen-address=127.0.0.1:0'],
    { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const address = new Promise((resolve, reject) => {
    let log = '';
    prometheus.stderr.setEncoding('utf8').on('data', (text) => {
      log += text;
      const found = /msg="Listening on" address=(\S+)/.exec(log);
      if (found) resolve(`http://${found[1]}`);
    });
    prometheus.on('error', (failure) => reject(new Error(`prometheus: ${failure.message}`)));
    prometheus.on('exit', () => reject(new Error(`prometheus has ended:\n${log.slice(-2000)}`)));
  });
  return { prometheus, address };
}

async function ask(origin, path, parameters) {
  const response = await fetch(`${origin}/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) });
  const answer = await response.json();
  if (answer.status !== 'success') throw new Error(answer.error);
  return answer.data;
}

async function until(what, condition) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    if (await condition().catch(() => false)) return;
    if (Date.now() > end) throw new Error(`${what}: not within ${PATIENCE_MS / 1000} s`);
    await sleep(100);
  }
}

// `$name`, `${name}` and `${name:format}` are replaced as Grafana does. What is not known is told and stays.
function interpolate(text, values, where) {
  return text.replace(/\$(?:(\w+)|\{(\w+)(?::\w+)?\})/g, (whole, bare, braced) => {
    const value = values[bare ?? braced];
    if (value === undefined) problem(`${where}: nothing is called ${whole}`);
    return value ?? whole;
  });
}

// label_values(METRIC, LABEL): the values of a dashboard's variable.
async function valuesOf(origin, variable, values, where) {
  const [, selector, label] = /^label_values\((.*), *(\w+)\)$/s.exec(variable.query) ?? [];
  if (!label) {
    problem(`${where}: '${variable.query}' is no label_values(METRIC, LABEL)`);
    return [];
  }
  const parameters = { 'match[]': interpolate(selector, values, where) };
  const series = await ask(origin, 'series', parameters);
  return [...new Set(series.map((labels) => labels[label]).filter(Boolean))].sort();
}

// What a table renames, orders and colours by name is there under that name.
function checkColumns(where, panel, columns) {
  for (const { id, options } of panel.transformations ?? []) {
    if (id !== 'organize') continue;
    for (const part of Object.values(options))
      for (const column of Object.keys(part))
        if (!columns.has(column)) problem(`${where}: no column is called '${column}'`);
    for (const name of Object.values(options.renameByName ?? {})) columns.add(name);
  }
  for (const { matcher } of panel.fieldConfig?.overrides ?? [])
    if (matcher.id === 'byName' && !columns.has(matcher.options))
      problem(`${where}: no column is called '${matcher.options}'`);
}

async function checkQueries(origin, { name, dashboard }) {
  const variables = dashboard.templating.list.filter((variable) => variable.type === 'query');
  // Once with "All", and once with the first value of each variable.
  const all = { ...BUILT_IN };
  const first = { ...BUILT_IN };
  for (const variable of variables) {
    const where = `${name}: variable ${variable.name}`;
    const found = await valuesOf(origin, variable, first, where);
    if (found.length === 0) problem(`${where}: it has no value`);
    if (!variable.allValue) problem(`${where}: without allValue a series that begins later is not in it`);
    all[variable.name] = variable.allValue;
    first[variable.name] = found[0];
  }
  let queries = 0;
  for (const panel of panelsOf(dashboard)) {
    const columns = new Set(['Time']);
    for (const target of panel.targets ?? []) {
      columns.add(`Value #${target.refId}`);
      for (const values of [all, first]) {
        queries += 1;
        const where = `${name}: panel '${panel.title}', query ${target.refId}`;
        const query = interpolate(target.expr, values, where);
        const now = Date.now() / 1000;
        const path = target.instant ? 'query' : 'query_range';
        const time = target.instant ? { time: now } : { start: now - 2, end: now, step: 1 };
        try {
          const { result } = await ask(origin, path, { query, ...time });
          for (const { metric } of result) for (const label of Object.keys(metric)) columns.add(label);
          const points = result.flatMap((series) => series.values ?? [series.value]);
          if (!points.some(([, value]) => value !== 'NaN')) problem(`${where}: no value for\n  ${query}`);
        } catch (failure) {
          problem(`${where}: ${failure.message} in\n  ${query}`);
        }
      }
    }
    checkColumns(`${name}: panel '${panel.title}'`, panel, columns);
  }
  return queries;
}

// --- all of it -----------------------------------------------------------------------------------------

const dashboards = readdirSync(join(root, folder))
  .filter((file) => file.endsWith('.json'))
  .map((name) => {
    const text = readFileSync(join(root, folder, name), 'utf8');
    return { name, text, dashboard: JSON.parse(text) };
  });
if (dashboards.length === 0) problem(`${folder}: no dashboard is there`);

const dir = mkdtempSync(join(tmpdir(), 'check-dashboard-'));
let typesDir;
let server;
let prometheus;
let queries = 0;
try {
  typesDir = mkdtempSync(join(root, 'node_modules', '.check-dashboard-'));
  for (const { name, dashboard } of dashboards) checkPortable(name, dashboard);
  const types = checkTypes(dashboards, typesDir);
  types.catch(() => {}); // it is awaited below, which an error of Prometheus may forestall
  server = await serveSamples();
  const started = startPrometheus(dir, server.address().port);
  prometheus = started.prometheus;
  const origin = await started.address;
  await until('every target is scraped', async () => {
    const { result } = await ask(origin, 'query', { query: `up == 1 and count_over_time(up[1m]) >= ${SCRAPES}` });
    return result.length === JOBS.length;
  });
  for (const each of dashboards) queries += await checkQueries(origin, each);
  await types;
} catch (failure) {
  problem(`${failure.message}\nIs all there that tools/setup.sh native lint sets up, and .toolchain/bin on PATH?`);
} finally {
  prometheus?.removeAllListeners('exit').kill();
  server?.close();
  server?.closeAllConnections();
  if (typesDir) rmSync(typesDir, { recursive: true, force: true });
  await sleep(0);
  rmSync(dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}
if (problems.length > 0) {
  for (const text of problems) console.error(text);
  process.exit(1);
}
const panels = dashboards.flatMap(({ dashboard }) => panelsOf(dashboard)).filter((panel) => panel.type !== 'row');
console.log(`${panels.length} panels: Grafana's types take them, and each of ${queries} queries has an answer`);
