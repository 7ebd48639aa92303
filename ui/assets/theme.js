/* Loaded in the head, before the first paint: the theme, and what the other scripts share. */
(function () {
  "use strict";
  const root = document.documentElement;
  const remembered = () => { try { return localStorage.getItem("flowtrail-theme"); } catch { return null; } };
  const wished = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const asked = new URLSearchParams(location.search).get("theme");

  function paint(theme) {
    root.setAttribute("data-theme", theme);
    root.setAttribute("data-ag-theme-mode", theme);
    window.dispatchEvent(new CustomEvent("flowtrail:theme"));
  }

  /* Change parameters of the address; null takes one away. On another page only the range of time goes along. */
  function go(changes, path) {
    const url = new URL(location.href);
    if (path && path !== url.pathname) {
      for (const name of [...url.searchParams.keys()]) {
        if (name !== "from" && name !== "to") url.searchParams.delete(name);
      }
      url.pathname = path;
    }
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    history.pushState({}, "", url.pathname + url.search);
    window.dispatchEvent(new CustomEvent("_dashprivate_pushstate")); // what dcc.Link sends and dcc.Location hears
  }

  /* Call `heard` whenever the address changes; returns what undoes it. */
  function onAddress(heard) {
    const events = ["_dashprivate_pushstate", "popstate"];
    events.forEach((event) => window.addEventListener(event, heard));
    return () => events.forEach((event) => window.removeEventListener(event, heard));
  }

  function setTheme(theme) {
    paint(theme);
    try { localStorage.setItem("flowtrail-theme", theme); } catch { /* a private window remembers nothing */ }
    const url = new URL(location.href);
    if (url.searchParams.has("theme")) {
      url.searchParams.set("theme", theme);
      history.replaceState(history.state, "", url.pathname + url.search);
    }
  }

  function setPaused(paused) {
    window.flowtrail.pausedAt = paused ? Date.now() : null;
    window.dispatchEvent(new CustomEvent("flowtrail:live"));
  }

  window.flowtrail_ui = {}; // our components, by the names that ui/components/elements.py gives them
  paint(["light", "dark"].includes(asked) ? asked : remembered() || wished);
  window.flowtrail = {
    pausedAt: null,
    go,
    onAddress,
    setPaused,
    setTheme,
    theme: () => root.getAttribute("data-theme"),
    param: (name) => new URLSearchParams(location.search).get(name),
    isLive: () => window.flowtrail.pausedAt === null && !document.hidden,
  };
})();
