// Cards by key: a card whose HTML is the same is left alone, so that what plays goes on playing. Keys 1 to 5 rate the focused card.
// A card takes as many thin rows of the grid as it is high, so that cards of any height stand close.
// A tune's notes have a line that goes with its sound, by the times at which the server says that places of the picture are heard.
const box = element.querySelector(".mb-cards");
const ROW = 4; // pixels, as in the style sheet
const GAP = 14;
const heights = new ResizeObserver((changes) => {
  for (const { target } of changes) target.style.gridRowEnd = `span ${Math.ceil((target.offsetHeight + GAP) / ROW)}`;
});
const make = (html) => {
  const holder = document.createElement("template");
  holder.innerHTML = html.trim();
  for (const time of holder.content.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    if (!isNaN(at)) time.textContent = at.toLocaleString(document.documentElement.dataset.tongue, { dateStyle: "medium", timeStyle: "short" });
  }
  return holder.content.firstElementChild;
};
const takePlace = (card, fresh) => {
  const held = card.contains(document.activeElement) ? document.activeElement : null; // whoever works by keys goes on where they are
  const { act, value } = held ? held.dataset : {};
  card.replaceWith(fresh);
  if (held) ((act && fresh.querySelector(`[data-act="${act}"]${value ? `[data-value="${value}"]` : ""}`)) || fresh).focus({ preventScroll: true });
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
      if (card) takePlace(card, fresh);
      card = fresh;
      heights.observe(card);
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
const between = (pairs, value, from, to) => {
  const after = pairs.findIndex((pair) => pair[from] >= value);
  const [low, high] = after < 0 ? [pairs.at(-1), pairs.at(-1)] : [pairs[Math.max(0, after - 1)], pairs[after]];
  const span = high[from] - low[from];
  return low[to] + (span > 0 ? ((value - low[from]) / span) * (high[to] - low[to]) : 0);
};
const known = new WeakMap();
const timesOf = (tune) => {
  const roll = tune.querySelector(".mb-roll");
  if (!known.has(tune)) known.set(tune, fetch(roll.src.replace(/\/roll$/, "/times")).then((answer) => answer.json()));
  return known.get(tune);
};
const follow = async (tune, sound) => {
  const line = tune.querySelector(".mb-score i");
  if (!line) return;
  const times = await timesOf(tune);
  line.style.left = `${100 * between(times, sound.currentTime, 0, 1)}%`;
  line.hidden = sound.ended || (sound.paused && sound.currentTime === 0);
  if (!sound.paused && sound.isConnected) requestAnimationFrame(() => follow(tune, sound));
};
for (const name of ["play", "seeked", "ended"]) {
  element.addEventListener(name, (event) => {
    const tune = event.target.closest(".mb-tune");
    if (tune) follow(tune, event.target);
    if (name !== "play") return;
    for (const other of document.querySelectorAll("audio, video")) if (other !== event.target) other.pause();
  }, true);
}
element.addEventListener("click", async (event) => {
  const score = event.target.closest(".mb-score");
  if (!score) return;
  const sound = score.parentElement.querySelector("audio");
  const box = score.getBoundingClientRect();
  const times = await timesOf(score.parentElement);
  sound.currentTime = between(times, (event.clientX - box.left) / box.width, 1, 0);
  sound.play();
});
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
