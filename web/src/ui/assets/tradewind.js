// Keeps an open page current: asks for the content of <main> and swaps it when it has changed.
// Everything on the page works without this.
(() => {
  "use strict";
  const main = document.getElementById("main");
  const lamp = document.querySelector(".live");
  const pause = Number(document.body.dataset.refresh) || 2000;
  let known = document.body.dataset.etag;

  const busy = () => {
    const at = document.activeElement;
    return document.hidden
      || (main.contains(at) && /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName))
      || String(getSelection()).length > 0;
  };

  const swap = (text) => {
    const at = document.activeElement;
    const focus = main.contains(at) && (at.id ? "#" + CSS.escape(at.id)
      : at.getAttribute("href") ? `a[href="${CSS.escape(at.getAttribute("href"))}"]` : null);
    const open = [...main.querySelectorAll("details[open][id]")].map((d) => d.id);
    const seen = [...main.querySelectorAll("[data-scroll][id]")].map((e) =>
      [e.id, e.scrollLeft, e.scrollTop, e.scrollTop + e.clientHeight >= e.scrollHeight - 4]);
    main.innerHTML = text;
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    for (const [id, left, top, end] of seen) {
      const e = document.getElementById(id);
      if (e) e.scrollTo(left, end ? e.scrollHeight : top);
    }
    if (focus) main.querySelector(focus)?.focus({ preventScroll: true });
  };

  const look = async () => {
    if (!busy()) {
      try {
        const headers = { "x-tradewind-fragment": "1", "if-none-match": known };
        const answer = await fetch(location.href, { headers, cache: "no-store" });
        if (answer.status === 200) {
          const text = await answer.text();
          if (!busy()) { swap(text); known = answer.headers.get("etag"); }
        }
        lamp.classList.toggle("off", !answer.ok && answer.status !== 304);
      } catch { lamp.classList.add("off"); }
    }
    setTimeout(look, pause);
  };

  const two = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000)), m = Math.floor(s / 60), h = Math.floor(m / 60);
    return s < 60 ? `${s} s` : m < 60 ? `${m} min ${s % 60} s`
      : h < 48 ? `${h} h ${m % 60} min` : `${Math.floor(h / 24)} d ${h % 24} h`;
  };
  setInterval(() => {
    for (const e of main.querySelectorAll(".ticking")) {
      e.textContent = two(Date.now() - Number(e.dataset.since));
    }
  }, 1000);

  for (const e of main.querySelectorAll("[data-end]")) e.scrollTop = e.scrollHeight;
  setTimeout(look, pause);
})();
