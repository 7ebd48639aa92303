/* Small drawings of figures: Spark, Chart, and Clock for moments. */
(function () {
  "use strict";
  const h = window.React.createElement;
  const { useEffect, useRef, useState } = window.React;
  const THIN = "\u202f";

  const two = (n) => String(n).padStart(2, "0");
  const day = (date) => date.toLocaleDateString(undefined, { day: "numeric", month: "short" });
  const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}`;

  function moment(ms, precise) {
    const date = new Date(ms);
    const time = `${clock(date)}:${two(date.getSeconds())}` + (precise ? `.${String(date.getMilliseconds()).padStart(3, "0")}` : "");
    return date.toDateString() === new Date().toDateString() ? time : `${day(date)} ${time}`;
  }

  /* The reader's own zone; the whole moment with its zone stands in the title. */
  function Clock({ ms, precise }) {
    const date = new Date(ms);
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    return h("time", { dateTime: date.toISOString(), title: `${date.toISOString()} (shown in ${zone})` }, moment(ms, precise));
  }

  /* Stretches of known values; null breaks the line. */
  function stretches(points) {
    const parts = [[]];
    for (const point of points) {
      if (point[1] === null || point[1] === undefined) parts.push([]);
      else parts[parts.length - 1].push(point);
    }
    return parts.filter((part) => part.length);
  }

  const path = (points) => "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");

  function Spark({ values = [], width = 96, height = 24, tone = "quiet", label = "" }) {
    const known = values.filter((value) => value !== null && value !== undefined);
    if (!known.length) return h("span", { className: "spark-none" }, "nothing seen");
    const top = Math.max(...known) * 1.08 || 1;
    const at = (value, i) => [1 + (i / Math.max(1, values.length - 1)) * (width - 5), value === null ? null : height - 2 - (value / top) * (height - 5)];
    const parts = stretches(values.map((value, i) => at(value, i)));
    const last = parts[parts.length - 1].at(-1);
    return h(
      "svg",
      { className: `spark tone-${tone}`, width, height, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${label}, over time` },
      parts.map((part, i) => h("path", { key: `f${i}`, className: "spark-fill", d: `${path(part)}L${part.at(-1)[0]} ${height - 1}L${part[0][0]} ${height - 1}z` })),
      parts.map((part, i) => h("path", { key: `l${i}`, className: "spark-line", d: path(part) })),
      h("circle", { className: "spark-dot", cx: last[0], cy: last[1], r: 2 }),
    );
  }

  const short = (value) => (value >= 1e6 ? `${+(value / 1e6).toFixed(1)}${THIN}M` : value >= 1e4 ? `${+(value / 1e3).toFixed(1)}${THIN}k` : String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, THIN));

  /* The next step of 1, 2 or 5 that divides `most` into at most five parts; events are whole. */
  function niceStep(most) {
    const rough = Math.max(1, most / 4);
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= rough);
  }

  const TICK_MS = [1, 5, 10, 15, 30, 60, 180, 360].map((minutes) => minutes * 60000);

  function Chart({ points = [], height = 228, tone = "quiet", label, marks = [] }) {
    const box = useRef(null);
    const [width, setWidth] = useState(700);
    const [at, setAt] = useState(null);
    useEffect(() => {
      const observer = new ResizeObserver(([entry]) => setWidth(Math.max(280, entry.contentRect.width)));
      observer.observe(box.current);
      return () => observer.disconnect();
    }, []);
    const [left, right, bottom, head] = [48, 12, 24, 14];
    const begin = points[0][0];
    const end = Math.max(points.at(-1)[0], begin + 1);
    const known = points.filter(([, value]) => value !== null);
    const step = niceStep(Math.max(...known.map(([, value]) => value), 1));
    const steps = Math.max(1, Math.ceil(Math.max(...known.map(([, value]) => value), 1) / step));
    const x = (ms) => left + ((ms - begin) / (end - begin)) * (width - left - right);
    const y = (value) => height - bottom - (value / (step * steps)) * (height - bottom - head);
    const drawn = stretches(points.map(([ms, value]) => [x(ms), value === null ? null : y(value)]));
    const every = TICK_MS.find((ms) => ((end - begin) / ms) * 56 < width - left) || TICK_MS.at(-1);
    const ticks = [];
    for (let ms = Math.ceil(begin / every) * every; ms <= end; ms += every) ticks.push(ms);
    const follow = (event) => {
      const ms = begin + ((event.clientX - box.current.getBoundingClientRect().left - left) / (width - left - right)) * (end - begin);
      setAt(known.reduce((best, point) => (!best || Math.abs(point[0] - ms) < Math.abs(best[0] - ms) ? point : best), null));
    };
    const shown = at || known.at(-1);
    return h(
      "div",
      { className: `chart tone-${tone}`, ref: box, onMouseMove: follow, onMouseLeave: () => setAt(null) },
      h(
        "svg",
        { width, height, role: "img", "aria-label": label },
        Array.from({ length: steps + 1 }, (_, i) => h("g", { key: i, className: "axis" }, h("line", { x1: left, x2: width - right, y1: y(i * step), y2: y(i * step) }), h("text", { x: left - 8, y: y(i * step) + 4, textAnchor: "end" }, short(i * step)))),
        ticks.map((ms) => h("text", { key: ms, className: "axis-x", x: x(ms), y: height - 6, textAnchor: "middle" }, clock(new Date(ms)))),
        marks.filter((mark) => mark.ms >= begin && mark.ms <= end).map((mark) => h("g", { key: mark.ms, className: `mark tone-${mark.tone}` }, h("line", { x1: x(mark.ms), x2: x(mark.ms), y1: head, y2: height - bottom }), h("text", { x: x(mark.ms) > width - 140 ? x(mark.ms) - 6 : x(mark.ms) + 6, y: head + 9, textAnchor: x(mark.ms) > width - 140 ? "end" : "start" }, `${mark.label} ${moment(mark.ms)}`))),
        drawn.map((part, i) => h("path", { key: i, className: "series", d: path(part) })),
        h("circle", { className: "series-dot", cx: x(shown[0]), cy: y(shown[1]), r: 3 }),
        at && h("line", { className: "cross", x1: x(at[0]), x2: x(at[0]), y1: head, y2: height - bottom }),
      ),
      h("p", { className: "chart-said" }, h("b", null, short(shown[1])), ` events at ${moment(shown[0])}`),
    );
  }

  Object.assign(window.flowtrail_ui, { Chart, Clock, Spark });
  window.flowtrail.moment = moment;
})();
