/* Glyphs of 16 × 16, drawn in strokes of the text's colour. Icon is the component. */
(function () {
  "use strict";
  const h = window.React.createElement;

  const GLYPHS = {
    check: "M3.5 8.5l3 3 6-7",
    cross: "M4.5 4.5l7 7M11.5 4.5l-7 7",
    stop: "M4.5 4.5h7v7h-7z",
    up: "M3.5 11.5L8 4.5l4.500 7z",
    tilde: "M2.500 9c1.800-3.600 3.700-2.700 5.500-1s3.700 2.600 5.500-1",
    retry: "M13 8a5 5 0 1 1-1.700-3.800M13 2.500v3h-3",
    clock: "M8 5v3l2.200 1.400M8 2.500a5.500 5.500 0 1 0 0 11 5.500 5.500 0 0 0 0-11z",
    question: "M6 6.200a2 2 0 1 1 2.700 1.900c-.5.200-.7.600-.7 1.200M8 11.700v.3",
    "eye-off": "M2 8s2.200-4 6-4 6 4 6 4-2.200 4-6 4-6-4-6-4zM3.500 12.500l9-9",
    envelope: "M2.500 4h11v8.500h-11zM2.500 5l5.500 4 5.500-4",
    search: "M7 2.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9zM10.500 10.500L14 14",
    pause: "M5.500 4v8M10.500 4v8",
    moon: "M13 9.500A5.500 5.500 0 0 1 6.500 3 5.500 5.500 0 1 0 13 9.500z",
    sun: "M8 5.200a2.800 2.800 0 1 0 0 5.600 2.800 2.800 0 0 0 0-5.600zM8 1.500v1.500M8 13v1.500M1.500 8H3M13 8h1.500M3.400 3.400l1.100 1.100M11.500 11.500l1.100 1.100M3.400 12.600l1.100-1.100M11.500 4.500l1.100-1.100",
    close: "M4 4l8 8M12 4l-8 8",
    next: "M6 3.500L10.500 8 6 12.500",
    copy: "M5.500 5.500h7v7h-7zM3.500 10.500v-7h7",
    plus: "M8 3.500v9M3.500 8h9",
    minus: "M3.500 8h9",
    fit: "M3 6V3h3M10 3h3v3M13 10v3h-3M6 13H3v-3",
    link: "M6.500 9.500l3-3M7 4.700l1-1a2.900 2.900 0 0 1 4.200 4.200l-1 1M9 11.300l-1 1a2.900 2.900 0 0 1-4.200-4.200l1-1",
    warn: "M8 2.500l6 11H2zM8 6.500v3.200M8 11.400v.3",
    "kind-service": "M2.500 3.500h11v9h-11z",
    "kind-topic": "M4.500 4.500h7a2 3.500 0 0 1 0 7h-7a2 3.500 0 0 1 0-7zM11.500 4.500a2 3.500 0 0 0 0 7",
    "kind-group": "M5 3.500h6L14.500 8 11 12.500H5L1.500 8z",
    "kind-cluster": "M2.500 5.500h9v7h-9zM4.500 5.500v-2h9v7h-2",
    problems: "M8 2.500l6 11H2zM8 6.500v3.200M8 11.400v.3",
    map: "M2 4h4v3H2zM10 2.500h4v3h-4zM10 10.500h4v3h-4zM6 5.500h2v6.500h2M8 4h2",
    flows: "M2.500 4h7M5 8h8.500M3.500 12h6",
    lag: "M2.500 13V9M6.200 13V6.500M9.800 13V9M13.500 13V3",
  };
  const FILLED = new Set(["stop", "up"]);

  function Glyph({ name }) {
    return h("path", { d: GLYPHS[name] || "", fill: FILLED.has(name) ? "currentColor" : "none" });
  }

  function Icon({ name, size = 16, className = "" }) {
    return h(
      "svg",
      { className: `icon ${className}`, width: size, height: size, viewBox: "0 0 16 16", "aria-hidden": true },
      h(Glyph, { name }),
    );
  }

  Object.assign(window.flowtrail_ui, { Glyph, Icon });
})();
