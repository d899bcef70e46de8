// Plays chunks of samples as they come, shows which words are heard, and offers the whole as a WAV file.
// props.value: see Playback.value in player.py.
const part = (name) => element.querySelector(`.ag-${name}`);
const context = () => (window.audiogenSound ||= new (window.AudioContext || window.webkitAudioContext)());

// Phones let a page sound only after a touch: the context is woken by the touch that asks for the sound.
if (!window.audiogenUnlocks) {
  window.audiogenUnlocks = true;
  document.addEventListener("pointerdown", () => context().resume(), { capture: true });
}

let now = null; // the sound in the player

function begin(value) {
  stop();
  if (now?.url) URL.revokeObjectURL(now.url);
  now = { run: value.run, taken: 0, samples: [], length: 0, marks: "", plan: [], end: 0, stopped: false, url: null, finished: 0 };
  part("audio").hidden = part("download").hidden = true;
  part("audio").removeAttribute("src");
  part("state").textContent = "";
}

function decode(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer);
}

function schedule(samples, rate) {
  if (!samples.length) return;
  const sound = context();
  sound.resume();
  const buffer = sound.createBuffer(1, samples.length, rate);
  buffer.getChannelData(0).set(Float32Array.from(samples, (sample) => sample / 32768));
  const node = sound.createBufferSource();
  node.buffer = buffer;
  node.connect(sound.destination);
  const at = Math.max(sound.currentTime + 0.03, now.end);
  node.start(at);
  now.plan.push({ node, at, from: now.length / rate, seconds: buffer.duration });
  now.end = at + buffer.duration;
  part("stop").hidden = false;
}

function stop() {
  if (!now) return;
  now.stopped = true;
  for (const { node } of now.plan) node.stop();
  now.plan = [];
  part("stop").hidden = true;
}

// The second that is heard now, of the stream or of the finished file; null in silence.
function position() {
  const audio = part("audio");
  if (!audio.paused && !audio.hidden) return audio.currentTime;
  if (!now) return null;
  const time = window.audiogenSound?.currentTime ?? 0;
  const playing = now.plan.find(({ at, seconds }) => at <= time && time < at + seconds);
  if (playing) return playing.from + time - playing.at;
  if (now.plan.length && time >= now.end) {
    now.plan = [];
    part("stop").hidden = true;
  }
  return null;
}

function show(marks) {
  const key = JSON.stringify(marks);
  if (key === now.marks) return;
  now.marks = key;
  part("text").replaceChildren(
    ...marks.map((mark) => {
      const span = document.createElement("span");
      span.textContent = mark.text;
      span.dataset.sentence = mark.sentence;
      if (mark.start_s !== null) Object.assign(span.dataset, { start: mark.start_s, end: mark.end_s });
      return span;
    }),
  );
}

function follow() {
  if (!element.isConnected) return;
  requestAnimationFrame(follow);
  const spans = [...part("text").children];
  if (!spans.length) return;
  const second = position();
  const begun = second === null ? [] : spans.filter((span) => Number(span.dataset.start) <= second);
  const sentence = begun.at(-1)?.dataset.sentence;
  for (const span of spans) {
    span.classList.toggle("ag-sentence", sentence !== undefined && span.dataset.sentence === sentence);
    span.classList.toggle("ag-word", begun.at(-1) === span && second < Number(span.dataset.end));
  }
}

function wav(rate) {
  const header = new DataView(new ArrayBuffer(44));
  const size = 2 * now.length;
  const words = [
    [0, "RIFF"], [8, "WAVE"], [12, "fmt "], [36, "data"],
  ];
  for (const [at, text] of words) [...text].forEach((c, k) => header.setUint8(at + k, c.charCodeAt(0)));
  header.setUint32(4, 36 + size, true);
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, rate, true);
  header.setUint32(28, 2 * rate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  header.setUint32(40, size, true);
  return new Blob([header, ...now.samples], { type: "audio/wav" });
}

function finish(value) {
  if (now.url) URL.revokeObjectURL(now.url);
  now.finished = now.length;
  now.url = URL.createObjectURL(wav(value.rate));
  const audio = part("audio");
  audio.src = now.url;
  audio.hidden = part("download").hidden = false;
  Object.assign(part("download"), { href: now.url, download: `${value.name}.wav` });
  part("state").textContent = "";
}

function update() {
  const value = props.value;
  if (!value?.run) {
    if (now) begin({ run: null });
    return;
  }
  if (now?.run !== value.run) {
    begin(value);
    if (value.autoplay) element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }
  for (const chunk of value.chunks.slice(now.taken)) {
    const samples = decode(chunk);
    if (value.autoplay && !now.stopped) schedule(samples, value.rate);
    now.samples.push(samples);
    now.length += samples.length;
  }
  now.taken = value.chunks.length;
  show(value.marks);
  if (value.done && now.finished < now.length) finish(value);
  else if (!value.done) part("state").textContent = now.stopped ? "stopped" : "heard while it is made";
}

part("stop").addEventListener("click", () => {
  stop();
  if (now.finished < now.length) finish(props.value); // what was made until now
  trigger("stop");
});
part("audio").addEventListener("play", stop);
watch("value", update);
follow();
update();
