// A curve drawn with a finger or a mouse. props.value: levels from 0 to 1 at equal distances, as curves.py says.
const canvas = element.querySelector(".ag-canvas");
const EDGE = 12; // pixels from the left and the right that count as the ends: fingers are broad
const COUNT = Number(canvas.dataset.levels);
let levels = props.value?.slice() ?? [];
let last = null; // where the finger was

function draw() {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width) return; // in a tab that is not shown
  [canvas.width, canvas.height] = [width * ratio, height * ratio];
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  pen.strokeStyle = style.getPropertyValue("--border-color-primary");
  for (const share of [0.25, 0.5, 0.75]) pen.strokeRect(-1, share * height, width + 2, 0);
  if (!levels.length) return;
  pen.beginPath();
  levels.forEach((level, k) => pen.lineTo((k / (COUNT - 1)) * width, (1 - level) * (height - 4) + 2));
  pen.strokeStyle = style.getPropertyValue("--primary-500");
  pen.lineWidth = 3;
  pen.lineJoin = "round";
  pen.stroke();
  pen.lineTo(width, height);
  pen.lineTo(0, height);
  pen.globalAlpha = 0.15;
  pen.fillStyle = pen.strokeStyle;
  pen.fill();
}

function move(event) {
  const box = canvas.getBoundingClientRect();
  const inside = (share) => Math.min(1, Math.max(0, share));
  const here = {
    k: Math.round(inside((event.clientX - box.left - EDGE) / (box.width - 2 * EDGE)) * (COUNT - 1)),
    level: 1 - inside((event.clientY - box.top) / box.height),
  };
  const from = last ?? here;
  const [a, b] = from.k <= here.k ? [from, here] : [here, from];
  for (let k = a.k; k <= b.k; k++) {
    const share = b.k > a.k ? (k - a.k) / (b.k - a.k) : 1;
    levels[k] = a.level + share * (b.level - a.level);
  }
  last = here;
  draw();
}

canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  if (!levels.length) levels = new Array(COUNT).fill(0.5);
  last = null;
  move(event);
});
canvas.addEventListener("pointermove", (event) => last && move(event));
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, () => {
    if (!last) return;
    last = null;
    props.value = levels.slice();
    trigger("input");
  });
}
watch("value", () => {
  levels = props.value?.slice() ?? [];
  draw();
});
new ResizeObserver(draw).observe(canvas);
