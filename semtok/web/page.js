/* The page to listen: a recording, its versions, its codes. `engine` makes codes and speech, wherever it runs. */
(() => {
  const semtok = (window.semtok ??= {});
  const { make } = semtok;
  // Longer recordings have each version made as it is asked for.
  const ALL_SECONDS = 60;

  /** What an address says after its "#", such as clip=first_voice&play=7. */
  const address = {
    read() {
      const values = new URLSearchParams(location.hash.slice(1));
      const numbers = (text) => (text ?? "").split(".").filter(Boolean).map(Number);
      const ticks = values.get("ticks");
      return { clip: values.get("clip"), play: values.get("play"), ticks: numbers(ticks), stages: Number(values.get("stages")) };
    },
    keep({ clip, play, ticks, stages }) {
      const values = new URLSearchParams({ ...(clip ? { clip } : {}), play, ticks: ticks.join("."), stages });
      history.replaceState(history.state, "", `#${values}`);
    },
  };

  /**
   * Fills `element`.
   * @param spec of a checkpoint, as `versions_of` in Python has it, with `examples` [{key, label, url}].
   * @param engine {most_seconds, taken_seconds?, encode({samples, blob, name, example}, {progress, signal}) -> codes, decode(layers,
   *     stages) -> samples, opened?(codes)}; codes are {names, layers, stages, rows}.
   */
  semtok.listen = (element, spec, engine) => {
    element.classList.add("semtok");
    let state = address.read();
    const keep = (changes) => address.keep((state = { ...state, ...changes }));
    const message = make("p", { class: "semtok-message", role: "alert" });
    const status = make("span", { role: "status" });
    const progress = make("progress", { max: 1, value: 0, "aria-label": "Share that is encoded" });
    const stop = make("button", { type: "button", class: "semtok-plain" }, "Stop");
    const busy = make("div", { class: "semtok-busy", hidden: true }, status, progress, stop);
    const file = make("input", { type: "file", accept: "audio/*,video/*,.flac,.m4a", class: "semtok-hidden", tabindex: -1, "aria-label": "A recording" });
    const choose = make("button", { type: "button", onclick: () => file.click() }, "Open a file");
    const recorder = make("button", { type: "button", onclick: () => record() }, "Record");
    const examples = spec.examples.map((example) =>
      make("button", { type: "button", class: "semtok-example", "data-clip": example.key, onclick: () => openExample(example) }, example.label),
    );
    const canvas = make("canvas", { role: "img" });
    const picture = make("section", { class: "semtok-codes", hidden: true }, make("h2", {}, "Codes"), make("div", {}, canvas));
    const place = make("section", { "aria-label": "Versions to hear" });
    element.append(
      make("div", { class: "semtok-input", role: "group", "aria-label": "Recording" }, recorder, choose, file, ...examples),
      message, busy, place, picture,
    );
    let codes = null;
    let drawn = "";
    const versions = new semtok.Versions(place, spec, engine.decode, state, keep);
    const draw = () => {
      if (!codes || picture.hidden) return;
      const frame = Math.min(codes.rows[0].length - 1, Math.floor(versions.transport.position * spec.frame_rate));
      const wanted = `${versions.chosen} ${frame} ${picture.clientWidth} ${[...versions.ticks]} ${versions.stages}`;
      if (wanted === drawn) return;
      drawn = wanted;
      canvas.setAttribute("aria-label", semtok.drawCodes(canvas, codes, spec.layers, versions.heard, frame));
    };
    versions.moved = draw;
    versions.shown = draw;
    new ResizeObserver(draw).observe(picture);

    let controller = null;
    const stopped = () => controller?.abort();
    stop.addEventListener("click", stopped);
    // who leaves does not have the rest encoded
    addEventListener("pagehide", stopped);

    async function open(name, clip, read) {
      stopped();
      const mine = (controller = new AbortController());
      const { signal } = mine;
      const current = () => mine === controller;
      message.textContent = "";
      versions.close();
      codes = null;
      picture.hidden = true;
      busy.hidden = false;
      progress.value = 0;
      status.textContent = `${name} is encoded`;
      examples.forEach((one) => one.setAttribute("aria-pressed", one.dataset.clip === clip));
      try {
        const blob = await read();
        const whole = await semtok.audio.read(blob, name, spec.input_rate, engine.most_seconds);
        const samples = whole.subarray(0, (engine.taken_seconds ?? Infinity) * spec.input_rate);
        const input = { samples, blob, name, example: clip };
        const made = await engine.encode(input, { progress: (share) => (progress.value = share), signal });
        if (signal.aborted) throw new Error("stopped");
        codes = made;
        keep({ clip, play: versions.chosen, ticks: [...versions.ticks], stages: versions.stages });
        if (samples.length < whole.length)
          message.textContent = `The first ${engine.taken_seconds} s of it are taken.`;
        picture.hidden = false;
        drawn = "";
        busy.hidden = true;
        engine.opened?.();
        await versions.open(original(samples), samples.length / spec.input_rate <= ALL_SECONDS);
      } catch (error) {
        if (current()) message.textContent = signal.aborted ? `Stopped: ${name} is not encoded.` : error.message;
      } finally {
        if (current()) busy.hidden = true;
      }
    }

    /** At the rate of what is decoded, by linear interpolation where the two differ; it is heard, not encoded. */
    function original(samples) {
      const ratio = spec.input_rate / spec.sample_rate;
      if (ratio === 1) return samples;
      return Float32Array.from({ length: Math.floor(samples.length / ratio) }, (_, index) => {
        const at = index * ratio;
        const left = Math.floor(at);
        return samples[left] + (at - left) * ((samples[left + 1] ?? samples[left]) - samples[left]);
      });
    }

    const openExample = ({ key, label, url }) =>
      open(label, key, async () => {
        const response = await fetch(url);
        if (!response.ok) throw new Error(`${label} is not there: the server answers ${response.status}`);
        return response.blob();
      });

    file.addEventListener("change", () => {
      const [chosen] = file.files;
      file.value = "";
      if (chosen) open(chosen.name, null, async () => chosen);
    });

    let recording = null;
    async function record() {
      message.textContent = "";
      try {
        if (recording) {
          const ended = recording;
          recording = null;
          recorder.textContent = "Record";
          recorder.classList.remove("semtok-recording");
          await open("Your recording", null, () => ended.stop());
        } else {
          recording = await semtok.audio.record();
          recorder.textContent = "Stop recording";
          recorder.classList.add("semtok-recording");
        }
      } catch (error) {
        message.textContent = error.message;
      }
    }

    const first = spec.examples.find((one) => one.key === state.clip) ?? spec.examples[0];
    if (first) openExample(first);
    return { versions, open };
  };
})();
