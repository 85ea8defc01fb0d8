// Cards by key: a card whose HTML is the same is left alone, so that what plays goes on playing. Keys 1 to 5 rate the focused card.
const box = element.querySelector(".mb-cards");
const make = (html) => {
  const holder = document.createElement("template");
  holder.innerHTML = html.trim();
  return holder.content.firstElementChild;
};
const draw = () => {
  const wanted = Array.isArray(props.value) ? props.value : [];
  const there = new Map([...box.children].map((card) => [card.dataset.key, card]));
  let before = null;
  for (const { key, html, version } of wanted) {
    let card = there.get(key);
    there.delete(key);
    if (!card || card.dataset.version !== version) {
      const fresh = make(html);
      fresh.dataset.key = key;
      fresh.dataset.version = version;
      if (card) card.replaceWith(fresh);
      card = fresh;
    }
    const place = before ? before.nextSibling : box.firstChild;
    if (place !== card) box.insertBefore(card, place);
    before = card;
  }
  for (const card of there.values()) card.remove();
};
watch("value", draw);
draw();
const act = (card, what, value) => trigger("submit", { act: what, id: card.dataset.key, value: value === undefined ? null : value });
element.addEventListener("click", (event) => {
  const control = event.target.closest("[data-act]");
  if (!control) return;
  event.preventDefault();
  act(control.closest("[data-key]"), control.dataset.act, control.dataset.value);
});
element.addEventListener("keydown", (event) => {
  const card = event.target.closest("[data-key]");
  if (!card || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  if (/^[1-5]$/.test(event.key) && card.querySelector("[data-act=rate]")) act(card, "rate", event.key);
  if (event.key === "b" && card.querySelector("[data-act=better]")) act(card, "better");
  if (event.key === "Enter" && event.target === card) {
    const link = card.querySelector("a.mb-open");
    if (link) link.click();
  }
});
