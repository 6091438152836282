#!/usr/bin/env node
// Each manifest that `smpctl render` makes is one that Kubernetes and the operators take. What they take is told by npm
// packages that are made from their own definitions (docs/kubernetes.md, "How the manifests are checked"): a type and a
// validator of each kind. A type refuses a field that it does not know, which a server would drop without a word; a validator refuses a value
// that is out of range or of another form. That they do is tried on manifests that are spoilt.
//
// Needs what `tools/setup.sh native` sets up.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, 'infra/rendered/kubernetes');
const problems = [];
const problem = (text) => problems.push(text);

// --- what there is -------------------------------------------------------------------------------------

// Each kind by its apiVersion, and the module that knows it. Each module has the validator `Kind`, and the type `IKind`.
const KINDS = {
  'v1/Namespace': 'kubernetes-models/v1/Namespace',
  'v1/Service': 'kubernetes-models/v1/Service',
  'apps/v1/Deployment': 'kubernetes-models/apps/v1/Deployment',
  'batch/v1/Job': 'kubernetes-models/batch/v1/Job',
  'networking.k8s.io/v1/NetworkPolicy': 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy',
  'policy/v1/PodDisruptionBudget': 'kubernetes-models/policy/v1/PodDisruptionBudget',
  ...Object.fromEntries(
    ['Cluster', 'ScheduledBackup'].map((kind) => [
      `postgresql.cnpg.io/v1/${kind}`,
      `@kubernetes-models/cloudnative-pg/postgresql.cnpg.io/v1/${kind}`,
    ]),
  ),
  ...Object.fromEntries(
    ['Kafka', 'KafkaNodePool', 'KafkaUser', 'KafkaMirrorMaker2'].map((kind) => [
      `kafka.strimzi.io/v1/${kind}`,
      `@kubernetes-models/strimzi-kafka-operator/kafka.strimzi.io/v1/${kind}`,
    ]),
  ),
  'monitoring.coreos.com/v1/PodMonitor':
    '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PodMonitor',
};

function* filesBelow(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else yield path;
  }
}

function readObjects() {
  const objects = [];
  for (const path of filesBelow(folder)) {
    const where = relative(root, path);
    // As Kubernetes reads it: by YAML 1.1, in which `on` is true.
    for (const document of parseAllDocuments(readFileSync(path, 'utf8'), { version: '1.1' })) {
      for (const error of document.errors) problem(`${where}: ${error.message}`);
      const value = document.toJS();
      if (value === null) continue; // the comment before the first object
      const kind = `${value.apiVersion}/${value.kind}`;
      if (kind === 'kustomize.config.k8s.io/v1beta1/Kustomization') continue;
      const name = `${where}: ${value.kind} ${value.metadata?.name}`;
      if (KINDS[kind]) objects.push({ name, kind, value });
      else problem(`${name}: nothing here knows ${kind}: add it to KINDS`);
    }
  }
  return objects;
}

// --- what must be refused ------------------------------------------------------------------------------

// A manifest of each kind with one mistake: where, and what stands there instead. `types` says that the type refuses
// it, `values` that the validator does.
const SPOILT = [
  { kind: 'Namespace', path: ['metadata', 'lables'], to: {}, by: ['types'] },
  { kind: 'Service', path: ['spec', 'ports', 0, 'port'], to: '8701', by: ['types', 'values'] },
  { kind: 'Deployment', path: ['spec', 'replica'], to: 2, by: ['types'] },
  { kind: 'Deployment', path: ['spec', 'replicas'], to: 'two', by: ['types', 'values'] },
  {
    kind: 'Deployment',
    path: ['spec', 'template', 'spec', 'containers', 0, 'securityContext', 'readOnlyRootFileSystem'],
    to: true,
    by: ['types'],
  },
  { kind: 'Job', path: ['spec', 'template', 'spec', 'containers'], to: undefined, by: ['types', 'values'] },
  { kind: 'NetworkPolicy', path: ['spec', 'egres'], to: [], by: ['types'] },
  { kind: 'PodDisruptionBudget', path: ['spec', 'maxUnavailable'], to: true, by: ['types', 'values'] },
  { kind: 'Cluster', path: ['spec', 'instances'], to: 0, by: ['values'] },
  { kind: 'Cluster', path: ['spec', 'storage', 'storageclass'], to: 'gp3', by: ['types'] },
  { kind: 'Cluster', path: ['spec', 'postgresql', 'synchronous', 'method'], to: 'some', by: ['values'] },
  { kind: 'ScheduledBackup', path: ['spec', 'method'], to: 'tape', by: ['values'] },
  { kind: 'Kafka', path: ['spec', 'zookeeper'], to: {}, by: ['types'] },
  { kind: 'Kafka', path: ['spec', 'kafka', 'listeners', 0, 'type'], to: 'inside', by: ['types', 'values'] },
  { kind: 'Kafka', path: ['spec', 'kafka', 'listeners', 0, 'port'], to: 80, by: ['values'] },
  { kind: 'KafkaNodePool', path: ['spec', 'roles'], to: ['brokers'], by: ['types', 'values'] },
  { kind: 'KafkaUser', path: ['spec', 'authentication', 'type'], to: 'plain', by: ['types', 'values'] },
  { kind: 'KafkaUser', path: ['spec', 'authorization', 'acls', 0, 'operation'], to: 'Read', by: ['types'] },
  { kind: 'KafkaMirrorMaker2', path: ['spec', 'target', 'group'], to: 'g', by: ['types'] },
  { kind: 'KafkaMirrorMaker2', path: ['spec', 'mirrors', 0, 'source', 'alias'], to: undefined, by: ['types', 'values'] },
  { kind: 'PodMonitor', path: ['spec', 'podMetricsEndpoints', 0, 'honorLabels'], to: 'yes', by: ['types', 'values'] },
];

function spoil(objects, { kind, path, to, by }) {
  const found = objects.find((object) => object.value.kind === kind);
  if (!found) {
    problem(`no ${kind} is rendered that could be spoilt`);
    return [];
  }
  const value = structuredClone(found.value);
  const last = path.at(-1);
  const parent = path.slice(0, -1).reduce((inner, key) => inner?.[key], value);
  if (typeof parent !== 'object') {
    problem(`${found.name}: there is no /${path.slice(0, -1).join('/')} that could be spoilt`);
    return [];
  }
  if (to === undefined) delete parent[last];
  else parent[last] = to;
  return [{ name: `${kind} with ${path.join('/')} = ${JSON.stringify(to)}`, kind: found.kind, value, by }];
}

// --- the types -----------------------------------------------------------------------------------------

async function checkTypes(objects, spoilt) {
  const modules = Object.entries(KINDS);
  const type = (kind) => `t${modules.findIndex(([name]) => name === kind)}`;
  const lines = modules.map(
    ([kind, module]) => `import type { I${kind.split('/').at(-1)} as ${type(kind)} } from '${module}';`,
  );
  const names = new Map();
  const declare = (name, { kind, value }) => {
    lines.push(`export const v${lines.length}: ${type(kind)} = ${JSON.stringify(value)};`);
    names.set(lines.length, name);
  };
  for (const object of objects) declare(object.name, object);
  for (const object of spoilt) {
    if (!object.by.includes('types')) continue;
    lines.push('// @ts-expect-error: it is spoilt');
    names.set(lines.length, `${object.name} is not refused by its type`);
    declare(object.name, object);
  }
  // It lies in the repository's node_modules, where its imports are found from.
  const directory = mkdtempSync(join(root, 'node_modules', '.check-kubernetes-'));
  try {
    const file = join(directory, 'manifests.ts');
    writeFileSync(file, `${lines.join('\n')}\n`);
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    const options = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--module', 'nodenext'];
    await promisify(execFile)(process.execPath, [compiler, ...options, file], { cwd: directory });
  } catch (failure) {
    if (!failure.stdout) throw failure;
    for (const line of failure.stdout.trim().split('\n')) {
      const [, number, text] = /^manifests\.ts\((\d+),\d+\): (.*)$/.exec(line) ?? [];
      problem(number ? `${names.get(Number(number)) ?? 'a type'}: ${text}` : line);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
}

// --- the validators ------------------------------------------------------------------------------------

async function checkValues(objects, spoilt) {
  const refusal = async ({ kind, value }) => {
    const { [kind.split('/').at(-1)]: Kind } = await import(KINDS[kind]);
    try {
      new Kind(value).validate();
      return null;
    } catch (error) {
      return error.message;
    }
  };
  for (const object of objects) {
    const refused = await refusal(object);
    if (refused) problem(`${object.name}: ${refused}`);
  }
  for (const object of spoilt)
    if (object.by.includes('values') && !(await refusal(object)))
      problem(`${object.name} is not refused by its validator`);
}

const objects = readObjects();
if (objects.length === 0) problem(`${relative(root, folder)}: nothing is rendered`);
const spoilt = SPOILT.flatMap((mistake) => spoil(objects, mistake));
await checkTypes(objects, spoilt);
await checkValues(objects, spoilt);
for (const text of problems) console.error(text);
if (problems.length > 0) process.exit(1);
console.log(`${objects.length} manifests are as Kubernetes and the operators want them; ${spoilt.length} spoilt ones are refused`);
