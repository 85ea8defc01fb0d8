// A picture to start from: dropped, pasted, chosen or taken from the library, and a brush for what is to be painted anew. The value is
// {picture, mask}: the picture as `content/ID/PART` or as a data URL, the mask as a PNG that is opaque where it was painted, or "".
const LONGEST = 1024;
const UNDONE = 20;
const box = element.querySelector(".mb-canvas");
const find = (name) => box.querySelector(name);
const [file, stage, shown, layer, size] = [".mb-pick input", ".mb-stage", ".mb-stage img", ".mb-stage canvas", "[type=range]"].map(find);
const brush = layer.getContext("2d", { willReadFrequently: true });
let [picture, before, rubber, last] = ["", [], false, null];

const painted = () => brush.getImageData(0, 0, layer.width, layer.height).data.some((value, place) => place % 4 === 3 && value > 0);
const tell = () => {
  const mask = props.brush && picture && painted() ? layer.toDataURL("image/png") : "";
  props.value = { picture, mask };
  trigger("input", props.value);
};
const button = (name) => find(`[data-do=${name}]`);
const dress = () => {
  stage.hidden = find(".mb-brushes").hidden = !picture;
  find(".mb-pick").hidden = !!picture;
  layer.hidden = size.hidden = button("rub").hidden = button("undo").hidden = button("clear").hidden = !props.brush;
  button("undo").disabled = !before.length;
  button("rub").setAttribute("aria-pressed", String(rubber));
};
const open = (source, address) => {
  [picture, before, rubber] = [source, [], false];
  shown.onload = () => {
    const factor = LONGEST / 2 / Math.max(shown.naturalWidth, shown.naturalHeight);
    [layer.width, layer.height] = [shown.naturalWidth, shown.naturalHeight].map((side) => Math.max(1, Math.round(side * factor)));
  };
  shown.src = address;
  dress();
};
const close = () => {
  [picture, before] = ["", []];
  shown.removeAttribute("src");
  brush.clearRect(0, 0, layer.width, layer.height);
  file.value = "";
  dress();
  tell();
};
const take = async (blob) => {
  if (!blob || !blob.type.startsWith("image/")) return;
  const image = await createImageBitmap(blob);
  const factor = Math.min(1, LONGEST / Math.max(image.width, image.height));
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [Math.round(image.width * factor), Math.round(image.height * factor)];
  copy.getContext("2d").drawImage(image, 0, 0, copy.width, copy.height);
  const address = copy.toDataURL("image/png");
  open(address, address);
  tell();
};
const keep = () => {
  before.push(brush.getImageData(0, 0, layer.width, layer.height));
  before.splice(0, before.length - UNDONE);
};
const at = (event) => {
  const seen = layer.getBoundingClientRect();
  return [((event.clientX - seen.left) * layer.width) / seen.width, ((event.clientY - seen.top) * layer.height) / seen.height];
};
const stroke = (from, to) => {
  brush.globalCompositeOperation = rubber ? "destination-out" : "source-over";
  brush.strokeStyle = "#1f7ae0";
  brush.lineWidth = (Number(size.value) / 100) * Math.max(layer.width, layer.height);
  brush.lineCap = brush.lineJoin = "round";
  brush.beginPath();
  brush.moveTo(...from);
  brush.lineTo(...to);
  brush.stroke();
};
layer.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  layer.setPointerCapture(event.pointerId);
  keep();
  last = at(event);
  stroke(last, last);
});
layer.addEventListener("pointermove", (event) => {
  if (!last) return;
  const here = at(event);
  stroke(last, here);
  last = here;
});
for (const name of ["pointerup", "pointercancel"]) {
  layer.addEventListener(name, () => {
    if (!last) return;
    last = null;
    dress();
    tell();
  });
}
const acts = {
  undo: () => before.length && brush.putImageData(before.pop(), 0, 0),
  clear: () => (keep(), brush.clearRect(0, 0, layer.width, layer.height)),
  rub: () => (rubber = !rubber),
  away: close,
};
box.addEventListener("click", (event) => {
  const control = event.target.closest("[data-do]");
  if (!control) return;
  acts[control.dataset.do]();
  dress();
  tell();
});
file.addEventListener("change", () => take(file.files[0]));
find(".mb-pick").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  file.click();
});
box.addEventListener("dragover", (event) => event.preventDefault());
box.addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  if (box.isConnected && props.pastes) take([...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/")));
});
const begin = () => {
  const wanted = (props.value && props.value.picture) || "";
  if (wanted === picture) return;
  if (wanted) open(wanted, wanted.startsWith("data:") ? wanted : `../${wanted}`);
  else close();
};
watch("value", begin);
dress();
begin();
