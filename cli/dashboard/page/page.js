// The page of kubectl spillway dashboard. It asks the command for the data and shows them as text: nothing of the
// cluster ever becomes markup, because tenants write names and messages.

const byId = (id) => document.getElementById(id);

// The key comes in the fragment of the address, which browsers send nowhere, and stays in this tab.
const given = new URLSearchParams(location.hash.slice(1)).get('key');
if (given) {
  sessionStorage.setItem('key', given);
  history.replaceState(null, '', location.pathname);
}

const query = { text: '', show: '', page: 1 };
let waiting = null; // The request that waits for a change.

/** element returns a new element with text or elements in it. */
function element(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) e.setAttribute(name, value === true ? '' : value);
  }
  e.append(...children);
  return e;
}

/** name returns a text that tenants have written. It changes the direction of no text, its own included. */
const directions = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const name = (text) => element('bdi', {}, String(text).replace(directions, '\ufffd'));

/** setText changes a text only if it differs, so that a selection or the focus of a screen reader stays. */
function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

async function ask(path, parameters, signal) {
  const response = await fetch(`${path}?${new URLSearchParams(parameters)}`, {
    headers: { Authorization: `Bearer ${sessionStorage.getItem('key') ?? ''}` }, cache: 'no-store', signal,
  });
  if (response.status === 204) return null;
  if (!response.ok) {
    const error = new Error((await response.text()).trim());
    error.status = response.status;
    throw error;
  }
  return response.json();
}

function showLive(state, text) {
  byId('live').className = `live ${state}`;
  setText(byId('live'), text);
}

function showError(text) {
  byId('error').hidden = !text;
  setText(byId('error'), text);
}

const clock = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };
const time = (date) => date.toLocaleTimeString([], clock);
const count = (n, one, many = `${one}s`) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

/** updateList makes the children of a list those for the items, and keeps elements of items that stay. */
function updateList(list, items, keyOf, create, update) {
  const old = new Map([...list.children].map((e) => [e.dataset.key, e]));
  let at = list.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let e = old.get(key);
    if (e) {
      old.delete(key);
    } else {
      e = create(item);
      e.dataset.key = key;
    }
    update(e, item);
    if (e === at) at = at.nextElementSibling;
    else list.insertBefore(e, at);
  }
  for (const e of old.values()) e.remove();
}

const places = ['local', 'cloud', 'waiting'];

function newBar(attributes) {
  return element('div', attributes, ...places.map((place) => element('i', { class: place })));
}

function fillBar(bar, workload) {
  places.forEach((place, i) => {
    bar.children[i].style.flexGrow = workload[place];
    bar.children[i].classList.toggle('some', workload[place] > 0);
  });
}

function renderTotal(total, cost) {
  const bar = byId('total-bar');
  if (!bar.firstChild) bar.append(...newBar({}).children);
  fillBar(bar, total);
  bar.setAttribute('aria-label', `${total.local} local, ${total.cloud} in the cloud, ${total.waiting} waiting`);
  for (const place of places) setText(byId(`total-${place}`), total[place].toLocaleString());
  setText(byId('total-billed'), `${total.billedCPU} CPU, ${total.billedMemory}`);
  byId('cost').hidden = !cost; // Without prices.
  setText(byId('total-cost'), cost ? `${cost.hour} ${cost.currency}/hour, ${cost.month} ${cost.currency}/month` : '');
}

function newRow(workload) {
  const [kind, ...rest] = workload.name.split(' ');
  const open = element('button', { type: 'button', class: 'link', 'aria-haspopup': 'dialog' }, name(rest.join(' ')));
  open.addEventListener('click', () => openWhy(workload.namespace, workload.name));
  const number = (label, kindOf = '') =>
    element('td', { role: 'cell', class: `number ${kindOf}`, 'data-label': label });
  return element('tr', { role: 'row' },
    element('th', { role: 'rowheader', scope: 'row' }, open,
      element('small', {}, name(workload.namespace), ' · ', name(kind))),
    // The numbers beside it say the same.
    element('td', { role: 'cell', class: 'share' }, newBar({ class: 'bar', 'aria-hidden': 'true' })),
    number('Local'), number('Cloud'), number('Waiting'), number('Quota'), number('Billed', 'billed'));
}

function updateRow(row, workload) {
  fillBar(row.querySelector('.bar'), workload);
  const cells = [...row.querySelectorAll('td.number')];
  places.forEach((place, i) => {
    setText(cells[i], String(workload[place]));
    cells[i].classList.toggle('zero', workload[place] === 0);
  });
  cells[2].classList.toggle('waits', workload.waiting > 0);
  setText(cells[3], workload.shares ?? '–');
  cells[3].classList.toggle('zero', workload.shares === undefined);
  setText(cells[4], workload.cloud === 0 && workload.billedCPU === '0' ? '–'
    : `${workload.billedCPU} CPU, ${workload.billedMemory}`);
}

function newNode(node) {
  return element('li', {},
    element('span', { class: 'node-name' }, name(node.name)), ' ', element('span', { class: 'state' }),
    element('div', { class: 'loads' }, ...node.loads.flatMap((load) => [
      element('span', {}, load.resource),
      element('div', { class: 'bar', role: 'img' }, element('i'), element('b')),
      element('span', {}),
    ])));
}

function updateNode(item, node) {
  const state = item.querySelector('.state');
  setText(state, node.state);
  state.classList.toggle('blocked', !node.ready);
  const cells = item.querySelector('.loads').children;
  node.loads.forEach((load, i) => {
    const bar = cells[3 * i + 1];
    bar.firstChild.style.flexGrow = load.percent;
    bar.firstChild.classList.toggle('some', load.percent > 0);
    bar.firstChild.classList.toggle('high', load.percent >= 90);
    bar.lastChild.style.flexGrow = 100 - load.percent;
    bar.setAttribute('aria-label', `${load.resource}: ${load.percent} %`);
    setText(cells[3 * i + 2], `${load.used} of ${load.capacity}`);
  });
}

function newDecision(d) {
  const at = new Date(d.at);
  const today = at.toDateString() === new Date().toDateString();
  const object = (d.namespace ? `${d.namespace}/` : '') + d.name;
  let what = element('span', {}, name(object));
  if (d.workload) {
    what = element('button', { type: 'button', class: 'link', 'aria-haspopup': 'dialog' }, name(object));
    what.addEventListener('click', () => openWhy(d.namespace, d.workload));
  }
  return element('li', { class: d.warning ? 'warning' : '' },
    element('time', { datetime: d.at, title: at.toLocaleString() }, today ? time(at) : at.toLocaleDateString()),
    d.place ? element('span', { class: `swatch ${d.place.toLowerCase()}`, 'aria-hidden': 'true' }) : '',
    d.kind === 'Pod' ? '' : `${d.kind} `, what, ' ', element('code', { class: 'reason' }, name(d.reason)),
    element('p', {}, name(d.text)));
}

function render(view) {
  setText(byId('scope'), view.scope);
  document.title = `Spillway: ${view.scope}`;
  const unknown = view.unknown ?? [];
  byId('unknown').hidden = unknown.length === 0;
  updateList(byId('unknown-list'), unknown, (text) => text, (text) => element('li', {}, name(text)), () => {});

  renderTotal(view.total, view.cost);
  updateList(byId('rows'), view.workloads ?? [], (w) => `${w.namespace}/${w.name}`, newRow, updateRow);
  setText(byId('count'), view.matching === view.all ? count(view.all, 'workload')
    : `${view.matching.toLocaleString()} of ${count(view.all, 'workload')}`);
  byId('none').hidden = view.matching > 0;
  setText(byId('none'), view.all === 0 ? 'No workload has a key of Spillway or a Pod in the cloud.'
    : 'No workload matches the filter.');
  query.page = view.page;
  byId('pager').hidden = view.pages === 1;
  byId('previous').disabled = view.page === 1;
  byId('next').disabled = view.page === view.pages;
  setText(byId('page'), `Page ${view.page} of ${view.pages}`);

  byId('nodes-note').hidden = !view.namespace;
  setText(byId('nodes-note'), view.namespace ? `The load is that of namespace ${view.namespace} only: others use the ` +
    'nodes too. kubectl spillway nodes shows the sum.' : '');
  updateList(byId('nodes'), view.nodes ?? [], (n) => n.name, newNode, updateNode);
  byId('more-nodes').hidden = false;
  setText(byId('more-nodes'), view.moreNodes > 0 ? `and ${view.moreNodes} more`
    : (view.nodes ?? []).length === 0 ? 'The cluster has no virtual node of Spillway.' : '');
  updateList(byId('decisions'), view.decisions ?? [],
    (d) => JSON.stringify([d.at, d.kind, d.namespace, d.name, d.reason, d.text]), newDecision, () => {});
}

// Why

const why = byId('why');
let asked = null;

async function openWhy(namespace, workload) {
  const mine = { namespace, workload };
  asked = mine;
  byId('why-title').replaceChildren(name(workload), ' ', element('small', { class: 'muted' }, name(namespace)));
  setText(byId('why-sum'), 'Reading');
  byId('why-body').replaceChildren();
  if (!why.open) why.showModal();
  try {
    const answer = await ask('v1/why', { namespace, workload });
    if (asked === mine) renderWhy(answer);
  } catch (error) {
    if (asked === mine) setText(byId('why-sum'), `It could not be read: ${error.message}`);
  }
}

function renderWhy(answer) {
  const pods = answer.pods ?? [];
  let sum = `${count(answer.total, 'Pod')}, read at ${time(new Date())}.`;
  if (answer.total === 0) sum = 'It has no Pods now.';
  if (pods.length < answer.total) {
    sum += ` These are ${pods.length}, those that wait first. kubectl spillway why shows all of them.`;
  }
  setText(byId('why-sum'), sum);
  byId('why-body').replaceChildren(...pods.map((pod, i) => explained(pod, i === 0)));
}

const marks = { Allows: ['✓', 'allows'], Prevents: ['✗', 'prevents'], None: ['–', 'no effect'] };

function explained(pod, open) {
  const body = element('div', { class: 'explained' });
  body.append(element('ol', { class: 'steps', 'aria-label': 'Steps of the decision' },
    ...pod.steps.map((step) => element('li', { class: step.effect },
      element('span', { class: 'mark', role: 'img', 'aria-label': marks[step.effect][1] }, marks[step.effect][0]),
      element('span', { class: 'name' }, step.name), element('span', { class: 'what' }, name(step.text))))));
  if (pod.size) {
    body.append(element('div', {}, element('h3', {}, 'Size in the cloud'), element('p', {},
      `${pod.size.billedCPU} vCPU, ${pod.size.billedMemory} ` +
      `(requested: ${pod.size.requestedCPU}, ${pod.size.requestedMemory})`)));
  }
  if (pod.wait?.left) body.append(element('p', {}, `It may burst in ${pod.wait.left}, at ${pod.wait.until}.`));
  if (pod.settings?.length) {
    body.append(element('div', {}, element('h3', {}, 'The settings stand on'), element('ul', {},
      ...pod.settings.map((s) => element('li', {}, name(`${s.key}=${s.value}`), ': ', name(s.from))))));
  }
  const holders = pod.quota?.holders ?? [];
  if (holders.length > 0) {
    const more = pod.quota.used - holders.length;
    body.append(element('div', {}, element('h3', {}, 'Local slots are held by'), element('ul', {},
      ...holders.map((h) => element('li', {}, name(h.pod), ' on ', name(h.node || 'no node yet'))),
      more > 0 ? element('li', {}, `and ${more} more`) : '')));
  }
  if (pod.changes?.length) {
    body.append(element('div', {}, element('h3', {}, 'What would change it'), ...pod.changes.map(change)));
  }
  for (const text of pod.unknown ?? []) body.append(element('p', { class: 'muted' }, 'Not known: ', name(text)));
  return element('details', { open },
    element('summary', {}, element('span', { class: `swatch ${pod.place.toLowerCase()}`, 'aria-hidden': 'true' }),
      element('strong', {}, name(pod.pod)), element('span', { class: 'sentence' }, name(pod.summary))),
    body);
}

function change(c) {
  const parts = [element('p', {}, name(c.effect))];
  if (c.command) {
    const copy = element('button', { type: 'button' }, 'Copy');
    copy.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(c.command);
        setText(copy, 'Copied');
      } catch {
        setText(copy, 'Select it');
      }
    });
    parts.push(element('code', { dir: 'ltr' }, c.command), copy);
  }
  return element('div', { class: 'change' }, ...parts);
}

byId('why-close').addEventListener('click', () => why.close());
byId('why-again').addEventListener('click', () => asked && openWhy(asked.namespace, asked.workload));
why.addEventListener('close', () => { asked = null; });
why.addEventListener('click', (event) => { // Beside the dialog.
  if (event.target !== why) return;
  const box = why.getBoundingClientRect();
  if (event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom) {
    why.close();
  }
});

// Queries

function setQuery(next) {
  Object.assign(query, next);
  waiting?.abort();
}

let typing = 0;
byId('text').addEventListener('input', (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => setQuery({ text: event.target.value.trim(), page: 1 }), 200);
});
byId('show').addEventListener('change', (event) => setQuery({ show: event.target.value, page: 1 }));
byId('previous').addEventListener('click', () => setQuery({ page: query.page - 1 }));
byId('next').addEventListener('click', () => setQuery({ page: query.page + 1 }));

const sleep = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

/** untilVisible waits while the tab is hidden: a page that is not seen asks for nothing. */
function untilVisible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((done) => { document.addEventListener('visibilitychange', () => done(), { once: true }); });
}

async function follow() {
  let after = '';
  for (;;) {
    await untilVisible();
    const request = new AbortController();
    waiting = request;
    try {
      const view = await ask('v1/view', { ...query, after }, request.signal);
      if (view) {
        after = view.version;
        render(view);
      }
      showError('');
      showLive('on', 'Live');
    } catch (error) {
      after = '';
      if (request.signal.aborted) continue; // Another query.
      if (error.status === 401) {
        showLive('off', 'No key');
        showError('Open the address that the command has printed: the key is missing or from an earlier run.');
        return;
      }
      showLive('off', 'Not connected');
      showError(error.status ? error.message
        : 'The command does not answer. If it has ended, start it again: kubectl spillway dashboard');
      await sleep(2000);
    }
  }
}

follow();
