// The page's language and colour scheme before the first paint, keys that work on every page, and a language switch that keeps the address.
(() => {
  const said = location.pathname.match(/\/studio\/(zh|en)(\/|$)/);
  if (said) {
    const tongue = { zh: "zh-CN", en: "en" }[said[1]]; // Gradio's own words follow the browser's language, and the page has another
    Object.defineProperty(navigator, "language", { get: () => tongue });
    Object.defineProperty(navigator, "languages", { get: () => [tongue] });
    document.documentElement.lang = document.documentElement.dataset.tongue = tongue;
  }
  const dark = () => {
    const chosen = localStorage.getItem("miaobi-theme");
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const paint = () => document.body && document.body.classList.toggle("dark", dark());
  document.addEventListener("DOMContentLoaded", paint);
  new MutationObserver(() => {
    if (document.body && document.body.classList.contains("dark") !== dark()) paint();
  }).observe(document.documentElement, { attributes: true, subtree: true, attributeFilter: ["class"], childList: false });
  const here = setInterval(() => {
    const current = document.querySelector(".mb-top [aria-current]");
    if (!current) return;
    clearInterval(here);
    const strip = current.parentElement; // on a phone it scrolls sideways
    strip.scrollLeft = current.offsetLeft - strip.offsetLeft - (strip.clientWidth - current.clientWidth) / 2;
  }, 200);
  const turn = () => {
    localStorage.setItem("miaobi-theme", dark() ? "light" : "dark");
    paint();
  };
  document.addEventListener("click", (event) => {
    const control = event.target.closest && event.target.closest("[data-mb]");
    if (!control) return;
    if (control.dataset.mb === "theme") turn();
    if (control.dataset.mb === "language") {
      event.preventDefault();
      location.href = control.getAttribute("href") + location.search;
    }
  });
  const typing = (element) => element && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      const buttons = [...document.querySelectorAll("button.mb-go:not([disabled]), .mb-go button:not([disabled])")];
      const button = buttons.find((each) => each.offsetParent); // that of the tab which is seen
      if (button) {
        event.preventDefault();
        if (document.activeElement) document.activeElement.dispatchEvent(new Event("change", { bubbles: true }));
        setTimeout(() => button.click(), 60); // the text field tells its value first
      }
    }
    if (typing(document.activeElement) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "d" || event.key === "D") turn();
    if (event.key === "/") {
      const field = [...document.querySelectorAll("#mb-prompt textarea, #mb-prompt input")].find((each) => each.offsetParent);
      if (field) {
        event.preventDefault();
        field.focus();
      }
    }
  });
})();
