// The page's view of series: a PromQL expression, drawn over time. Owns the plot; stands behind the page's own script and uses its
// small functions. Text comes into the page as text only, never as markup.
'use strict';
{
  const COLORS = 8, DRAWN_MAX = 40, NAMES_MAX = 500, LEFT = 58, RIGHT = 10, TOP = 8, BOTTOM = 22, HEIGHT = 320;
  const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800];
  let drawn = null, hidden = new Set(), zoomed = null, turn = 0, timer = null, names = null;

  const make = (name, attributes, words) => {
    const e = document.createElementNS(SVG, name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    if (words !== undefined) e.textContent = words;
    return e;
  };
  const color = i => `var(--s${i % COLORS})`;
  const dash = i => ['', '6 3', '2 3', '8 3 2 3', '1 4'][Math.floor(i / COLORS) % 5];

  // A number as short as three digits after the first allow, with the letters of SI for large ones.
  function short(v) {
    if (!Number.isFinite(v)) return Number.isNaN(v) ? 'NaN' : v > 0 ? '+Inf' : '-Inf';
    const size = Math.abs(v);
    if (size >= 1e15 || (size > 0 && size < 1e-4)) return v.toExponential(2);
    for (const [unit, letter] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) if (size >= unit) return trim(v / (letter === 'k' ? 1e3 : unit)) + letter;
    return trim(v);
  }
  const trim = v => String(+v.toPrecision(Math.abs(v) >= 1000 ? 5 : 4));
  const number = text => text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : parseFloat(text);
  function title(metric) {
    const { __name__: name, ...labels } = metric, inner = Object.entries(labels).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(', ');
    return (name || '') + (inner || !name ? `{${inner}}` : '');
  }

  function asked() {
    if (zoomed) return zoomed;
    const r = $('s-range').value, now = Date.now();
    if (r === 'custom') {
      const from = Date.parse($('s-from').value), to = $('s-to').value ? Date.parse($('s-to').value) : now;
      if (Number.isNaN(from)) throw new Error('say from when');
      if (!(to > from)) throw new Error('the end is not behind the beginning');
      return { first: from, last: to };
    }
    const [, n, unit] = r.match(/^(\d+)([mhd])$/);
    return { first: now - n * { m: 6e4, h: 36e5, d: 864e5 }[unit], last: now };
  }

  async function api(place, parameters) {
    const answer = await fetch(place + '?' + new URLSearchParams(parameters));
    let said;
    try { said = await answer.json(); } catch { throw new Error(`the daemon answers ${answer.status}`); }
    if (said.status !== 'success') throw new Error(said.error || `the daemon answers ${answer.status}`);
    return said.data;
  }

  async function learn() {
    const found = await api('/api/v1/label/__name__/values', {});
    names = found;
    $('s-names').replaceChildren(...found.slice(0, NAMES_MAX).map(name => { const o = el('option'); o.value = name; return o; }));
  }
  // What there is to choose from, while nothing is chosen.
  function offer() {
    const list = $('s-offer');
    list.replaceChildren();
    list.hidden = $('s-query').value.trim() !== '' || names === null;
    if (list.hidden) return;
    if (!names.length) { list.append('There are no series yet. Send some: POST /write (line protocol), POST /api/v1/write (remote_write), [[scrapes]] in the configuration, or duramen import.'); return; }
    for (const name of names.slice(0, 100)) {
      const b = el('button', name); b.type = 'button';
      b.onclick = () => { $('s-query').value = name; zoomed = null; ask(); };
      list.append(b);
    }
    if (names.length > 100) list.append(` and ${count(names.length - 100)} more: type a part of the name`);
  }

  function keep() {
    if (view === 'series') location.hash = new URLSearchParams({ v: 'series', p: $('s-query').value, r: $('s-range').value });
  }

  async function ask() {
    const mine = ++turn;
    $('s-error').textContent = '';
    keep(); offer();
    const query = $('s-query').value.trim();
    if (!query) { drawn = null; paint(); return; }
    $('s-said').textContent = 'reading…';
    try {
      const { first, last } = asked(), seconds = (last - first) / 1e3;
      const wide = Math.max(200, $('s-plot').clientWidth - LEFT - RIGHT), step = STEPS.find(s => seconds / s <= wide) || Math.ceil(seconds / wide);
      // On multiples of the step, so that a picture that is drawn again does not flicker.
      const from = Math.floor(first / 1e3 / step) * step, to = Math.floor(last / 1e3 / step) * step;
      const data = await api('/api/v1/query_range', { query, start: from, end: to, step });
      if (mine !== turn) return;
      const all = (data.result || []).map(s => ({ name: title(s.metric), points: (s.values || []).map(([t, v]) => [t * 1e3, number(v)]) }));
      all.sort((a, b) => a.name < b.name ? -1 : 1);
      const events = await happened(first, last);
      if (mine !== turn) return;
      const shown = new Set(all.map(s => s.name));
      hidden = new Set([...hidden].filter(name => shown.has(name)));
      drawn = { all: all.slice(0, DRAWN_MAX), events, first, last, step: step * 1e3 };
      const points = all.reduce((n, s) => n + s.points.length, 0), of = all.length > DRAWN_MAX ? `, the first ${DRAWN_MAX} of them drawn` : '';
      $('s-said').textContent = all.length ? `${count(all.length)} series${of}, ${count(points)} points, ${step} s apart` : 'nothing in this time';
      paint();
    } catch (error) {
      if (mine !== turn) return;
      drawn = null; paint();
      $('s-error').textContent = error.message; $('s-said').textContent = '';
    }
  }

  // Outages and gaps, as the store tells them of itself.
  async function happened(first, last) {
    const events = [];
    const p = new URLSearchParams({ query: '{duramen="events"}', lines: 500, since: Math.floor(first) + '000000', until: Math.ceil(last) + '000000' });
    await lines('/query?' + p, null, r => { if (r.fields && ['gap', 'outage'].includes(r.fields.event)) events.push(r); });
    return events.map(r => ({ line: r.line, from: r.fields.from ? r.fields.from / 1e6 : r.ns / 1e6, to: r.fields.to ? r.fields.to / 1e6 : r.ns / 1e6 }));
  }

  // Round numbers that cut a span in about `parts`.
  function ticks(low, high, parts) {
    const raw = (high - low) / parts, power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 2.5, 5, 10].map(n => n * power).find(n => n >= raw) || raw;
    const found = [];
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9 && found.length < 30; v += step) found.push(Math.abs(v) < step * 1e-9 ? 0 : v);
    return found;
  }
  function times(first, last, parts) {
    const raw = (last - first) / parts / 1e3, step = (STEPS.find(s => s >= raw) || Math.ceil(raw / 604800) * 604800) * 1e3;
    const shift = new Date(first).getTimezoneOffset() * 6e4, found = [];
    for (let t = Math.ceil((first - shift) / step) * step + shift; t <= last && found.length < 50; t += step) found.push(t);
    return { found, step };
  }
  function clock(ms, step) {
    const d = new Date(ms), time = `${two(d.getHours())}:${two(d.getMinutes())}`;
    if (step >= 864e5 || (step >= 36e5 && time === '00:00')) return `${two(d.getMonth() + 1)}-${two(d.getDate())}`;
    return step < 6e4 ? `${time}:${two(d.getSeconds())}` : time;
  }

  function scale() {
    let low = Infinity, high = -Infinity;
    for (const s of drawn.all) if (!hidden.has(s.name)) for (const [, v] of s.points) if (Number.isFinite(v)) { if (v < low) low = v; if (v > high) high = v; }
    if (low > high) [low, high] = [0, 1];
    if (low === high) { const room = Math.abs(low) * .1 || 1; low -= room; high += room; }
    // From zero where that costs little of the height.
    if (low > 0 && low < high * .25) low = 0; else if (low !== 0) low -= (high - low) * .04;
    high += (high - low) * .04;
    return { low, high };
  }

  function paint() {
    const svg = $('s-plot'), wide = Math.max(240, svg.clientWidth), inner = wide - LEFT - RIGHT, high = HEIGHT - TOP - BOTTOM;
    svg.replaceChildren(); svg.setAttribute('viewBox', `0 0 ${wide} ${HEIGHT}`); $('s-tip').hidden = true;
    $('s-figure').hidden = !drawn;
    if (!drawn) { $('s-legend').replaceChildren(); return; }
    const { low, high: top } = scale(), { first, last } = drawn;
    const x = t => LEFT + (t - first) / (last - first) * inner, y = v => TOP + (top - v) / (top - low) * high;
    Object.assign(drawn, { x, y, inner });
    for (const e of drawn.events) {
      const a = Math.max(LEFT, x(e.from)), b = Math.min(LEFT + inner, Math.max(x(e.to), a + 2));
      if (b <= a || e.from > last) continue;
      const r = make('rect', { x: a, y: TOP, width: b - a, height: high, style: 'fill:var(--gap)' });
      r.append(make('title', {}, `${when(e.from)}: ${e.line}`)); svg.append(r);
    }
    for (const v of ticks(low, top, 5)) {
      svg.append(make('line', { x1: LEFT, x2: LEFT + inner, y1: y(v), y2: y(v), style: 'stroke:var(--line)' }));
      svg.append(make('text', { x: LEFT - 6, y: y(v) + 4, 'text-anchor': 'end' }, short(v)));
    }
    const marks = times(first, last, Math.max(2, Math.floor(inner / 90)));
    for (const t of marks.found) {
      svg.append(make('line', { x1: x(t), x2: x(t), y1: TOP + high, y2: TOP + high + 4, style: 'stroke:var(--dim)' }));
      if (x(t) > LEFT + 16 && x(t) < LEFT + inner - 16) svg.append(make('text', { x: x(t), y: HEIGHT - 4, 'text-anchor': 'middle' }, clock(t, marks.step)));
    }
    drawn.all.forEach((s, i) => {
      if (hidden.has(s.name)) return;
      // A line ends where a step has no value: a gap stays a gap. A point alone is a dot.
      let path = '', before = null, alone = null;
      const dot = () => { if (alone) svg.append(make('circle', { cx: x(alone[0]), cy: y(alone[1]), r: 2, style: `fill:${color(i)}` })); };
      for (const [t, v] of s.points) {
        if (!Number.isFinite(v)) { before = null; continue; }
        const joined = before !== null && t - before <= drawn.step * 1.5;
        if (!joined) dot();
        path += `${joined ? 'L' : 'M'}${x(t).toFixed(1)} ${y(v).toFixed(1)}`;
        alone = joined ? null : [t, v]; before = t;
      }
      dot();
      const line = make('path', { d: path, class: 'line', style: `stroke:${color(i)}`, 'stroke-dasharray': dash(i) });
      line.append(make('title', {}, s.name)); svg.append(line);
    });
    svg.append(make('line', { id: 's-cross', y1: TOP, y2: TOP + high, style: 'stroke:var(--dim)', visibility: 'hidden' }));
    legend();
  }

  function legend() {
    $('s-legend').replaceChildren(...drawn.all.map((s, i) => {
      const li = el('li'), b = el('button'), swatch = make('svg', { viewBox: '0 0 22 10', width: 22, height: 10, 'aria-hidden': 'true' });
      swatch.append(make('line', { x1: 0, x2: 22, y1: 5, y2: 5, style: `stroke:${color(i)};stroke-width:3`, 'stroke-dasharray': dash(i) }));
      b.type = 'button'; b.setAttribute('aria-pressed', !hidden.has(s.name));
      const shown = s.points.map(p => p[1]).filter(Number.isFinite);
      const figures = shown.length ? `last ${short(shown.at(-1))} · least ${short(shown.reduce((a, v) => Math.min(a, v)))} · most ${short(shown.reduce((a, v) => Math.max(a, v)))}` : 'no numbers';
      b.append(swatch, el('span', s.name, 'text'), el('small', figures));
      b.onclick = e => {
        // With a modifier, this one alone; again, all.
        if (e.ctrlKey || e.metaKey || e.shiftKey) {
          const others = drawn.all.filter(o => o !== s).map(o => o.name);
          hidden = others.length && others.every(name => hidden.has(name)) && !hidden.has(s.name) ? new Set() : new Set(others);
        } else if (!hidden.delete(s.name)) hidden.add(s.name);
        paint(); $('s-legend').children[i].firstChild.focus();
      };
      li.append(b); return li;
    }));
  }

  // The values at the pointer.
  function point(t, left) {
    const found = [];
    drawn.all.forEach((s, i) => {
      if (hidden.has(s.name) || !s.points.length) return;
      let a = 0, b = s.points.length - 1;
      while (a < b) { const m = (a + b) >> 1; if (s.points[m][0] < t - drawn.step / 2) a = m + 1; else b = m; }
      const [at, v] = s.points[a];
      if (Math.abs(at - t) <= drawn.step) found.push({ i, name: s.name, at, v });
    });
    const tip = $('s-tip'), cross = $('s-cross'), at = found.length ? found[0].at : t;
    cross.setAttribute('x1', drawn.x(at)); cross.setAttribute('x2', drawn.x(at)); cross.setAttribute('visibility', 'visible');
    found.sort((a, b) => b.v - a.v);
    const rows = found.slice(0, 12).map(f => { const d = el('div'), k = el('i'); k.style.background = color(f.i); d.append(k, el('b', short(f.v)), el('span', f.name)); return d; });
    if (found.length > 12) rows.push(el('div', `and ${found.length - 12} more`));
    if (!found.length) rows.push(el('div', 'no value here'));
    tip.replaceChildren(el('time', when(at)), ...rows); tip.hidden = false;
    const wide = $('s-plot').clientWidth, room = tip.offsetWidth + 14;
    tip.style.left = (left + room > wide ? Math.max(0, left - room) : left + 14) + 'px';
  }
  {
    const svg = $('s-plot'); let from = null, band = null;
    const place = e => { const b = svg.getBoundingClientRect(); return Math.min(LEFT + drawn.inner, Math.max(LEFT, e.clientX - b.left)); };
    const time = left => drawn.first + (left - LEFT) / drawn.inner * (drawn.last - drawn.first);
    svg.onpointerdown = e => { if (drawn) { from = place(e); svg.setPointerCapture(e.pointerId); } };
    svg.onpointermove = e => {
      if (!drawn) return;
      const now = place(e);
      point(time(now), now);
      if (from === null) return;
      band?.remove();
      band = make('rect', { x: Math.min(from, now), y: TOP, width: Math.abs(now - from), height: HEIGHT - TOP - BOTTOM, style: 'fill:var(--accent);opacity:.25' });
      svg.append(band);
    };
    svg.onpointerup = e => {
      if (from === null || !drawn) return;
      const a = Math.min(from, place(e)), b = Math.max(from, place(e));
      from = null; band?.remove(); band = null;
      if (b - a > 5 && time(b) - time(a) >= 2e3) { zoomed = { first: time(a), last: time(b) }; ask(); }
    };
    svg.onpointercancel = () => { from = null; band?.remove(); band = null; };
    svg.onpointerleave = () => { if (from === null) { $('s-tip').hidden = true; $('s-cross')?.setAttribute('visibility', 'hidden'); } };
    svg.ondblclick = () => { if (zoomed) { zoomed = null; ask(); } };
    svg.onkeydown = e => {
      if (!drawn || !['ArrowLeft', 'ArrowRight', 'Escape'].includes(e.key)) return;
      e.preventDefault();
      if (e.key === 'Escape') { svg.onpointerleave(); return; }
      const now = +($('s-cross').getAttribute('x1') || LEFT + drawn.inner / 2), by = Math.max(2, drawn.step / (drawn.last - drawn.first) * drawn.inner);
      const next = Math.min(LEFT + drawn.inner, Math.max(LEFT, now + (e.key === 'ArrowLeft' ? -by : by)));
      point(time(next), next);
    };
  }

  function follow(on) {
    clearInterval(timer); timer = on ? setInterval(() => { if (view === 'series' && !document.hidden && !zoomed) ask(); }, 5000) : null;
    $('s-live').setAttribute('aria-pressed', on);
  }
  function show(name) {
    view = name;
    for (const one of ['lines', 'series']) { $(one + '-view').hidden = one !== name; $('to-' + one).setAttribute('aria-pressed', one === name); }
    if (name === 'lines') { follow(false); search(); return; }
    learn().catch(error => { $('s-error').textContent = error.message; }).then(() => ask());
  }
  $('to-lines').onclick = () => show('lines');
  $('to-series').onclick = () => show('series');
  $('s-ask').onsubmit = e => { e.preventDefault(); zoomed = null; ask(); };
  $('s-live').onclick = () => follow(timer === null);
  $('s-range').onchange = () => { const c = $('s-range').value === 'custom'; $('s-custom').classList.toggle('shown', c); zoomed = null; if (!c) ask(); };
  new ResizeObserver(() => { if (drawn && view === 'series') paint(); }).observe($('s-plot').parentElement);
  if (arrived.get('v') === 'series') {
    $('s-query').value = arrived.get('p') || '';
    if ([...$('s-range').options].some(o => o.value === arrived.get('r') && o.value !== 'custom')) $('s-range').value = arrived.get('r');
  }
  show(view);
}
