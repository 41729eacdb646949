/* Rows of versions of one recording, each with play, kbit/s and what it keeps, under one transport. */
(() => {
  const semtok = (window.semtok ??= {});
  const { clock } = semtok.audio;

  /** <tag ...attributes>children</tag>; attributes that begin with "on" are listeners. */
  const make = (semtok.make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  });

  const kbits = (bits) => `${(bits / 1000).toFixed(bits < 10000 ? 1 : 0)} kbit/s`;
  const typing = (target) =>
    target.closest?.("input:not([type=checkbox]):not([type=range]), textarea, select, [contenteditable=true]");

  semtok.Versions = class {
    /**
     * @param spec what `versions_of` in Python says of a checkpoint.
     * @param decode (layers, stages) -> a promise of samples.
     * @param state {play, ticks, stages} to begin with; `kept` is called with what it becomes.
     */
    constructor(element, spec, decode, state, kept) {
      Object.assign(this, { spec, decode, kept });
      this.transport = new semtok.Transport(spec.sample_rate, () => this.#show());
      const layers = spec.layers.map((one) => one.layer);
      const ticks = (state.ticks ?? []).filter((layer) => layers.includes(layer));
      this.ticks = new Set(ticks.length ? ticks : layers);
      this.most = Math.max(...spec.layers.map((one) => one.bits.length));
      this.stages = Math.min(this.most, Math.max(1, state.stages || this.most));
      this.rows = new Map();
      this.waiting = new Map();
      this.chosen = spec.versions.some((one) => one.key === state.play) ? state.play : spec.first;
      this.#build(element);
      document.addEventListener("keydown", (event) => this.#key(event));
      // drawn as long as it plays, but for a page that is not looked at
      const follow = () => {
        if (!element.isConnected) return;
        if (this.transport.playing) this.#move();
        requestAnimationFrame(follow);
      };
      requestAnimationFrame(follow);
      this.close();
    }

    /** Nothing is there to be heard. */
    close() {
      this.waiting.clear();
      this.transport.clear();
      this.opened = (this.opened ?? 0) + 1;
      this.list.hidden = true;
      this.#show();
    }

    /** A recording whose codes are there: `all` of its versions are made now, or each as it is asked for. */
    async open(original, all) {
      this.close();
      const opened = this.opened;
      this.transport.add("original", original);
      this.list.hidden = false;
      this.#show();
      const keys = this.spec.versions.map((one) => one.key).filter((key) => all || key === this.chosen);
      for (const key of [this.chosen, ...keys]) {
        if (this.opened === opened) await this.#samples(key).catch(() => {});
      }
    }

    version(key) {
      const version = this.spec.versions.find((one) => one.key === key);
      if (key !== "yours") return version;
      return { ...version, layers: [...this.ticks].sort((a, b) => a - b), stages: this.stages, bits: this.#bits() };
    }

    /** Layers and stages of the version that is chosen; of the original all. */
    get heard() {
      const version = this.version(this.chosen);
      return (layer, stage) => !version.layers || (version.layers.includes(layer) && stage <= (version.stages ?? 99));
    }

    async choose(key, { play = true } = {}) {
      this.chosen = key;
      this.#keep();
      this.#show();
      try {
        await this.#samples(key);
      } catch {
        return;
      }
      if (this.chosen === key && play) this.transport.play(key);
    }

    #samples(key) {
      if (this.transport.has(key)) return Promise.resolve();
      if (this.waiting.has(key)) return this.waiting.get(key);
      const { opened } = this;
      const version = this.version(key);
      const row = this.rows.get(key);
      const say = (text) => (row.message.textContent = text);
      if (!version.layers?.length) {
        say("tick a layer");
        return Promise.reject(new Error("no layer"));
      }
      row.element.setAttribute("aria-busy", "true");
      const waiting = this.decode(version.layers, version.stages ?? this.most).then(
        (samples) => {
          if (this.opened !== opened || this.waiting.get(key) !== waiting) throw new Error("another was asked for");
          this.transport.add(key, samples);
          say("");
        },
        (error) => {
          say(error.message);
          throw error;
        },
      );
      this.waiting.set(key, waiting);
      waiting
        .catch(() => {})
        .finally(() => {
          if (this.waiting.get(key) !== waiting) return;
          this.waiting.delete(key);
          row.element.removeAttribute("aria-busy");
          this.#show();
        });
      return waiting;
    }

    #build(element) {
      this.button = make("button", { type: "button", class: "semtok-main", onclick: () => this.#toggle() });
      this.time = make("span", { class: "semtok-time" });
      this.slider = make("input", {
        type: "range", min: 0, max: 1000, value: 0, "aria-label": "Place in the recording",
        oninput: () => this.transport.seek((this.slider.value / 1000) * this.transport.seconds),
      });
      this.saying = make("p", { class: "semtok-bits", role: "status" });
      const save = make("button", { type: "button", class: "semtok-plain", onclick: () => this.#save() }, "Save as WAV");
      const list = make("ul", { class: "semtok-rows", "aria-label": "Versions" });
      this.spec.versions.forEach((version) => list.append(this.#row(version)));
      this.list = make(
        "div", {},
        make("div", { class: "semtok-transport" }, this.button, this.slider, this.time, save),
        this.saying, list,
        make("p", { class: "semtok-note" },
          "All versions are played as loud as the original. Keys: space plays, ",
          ...this.spec.versions.filter((one) => one.hotkey).flatMap((one) => [make("kbd", {}, one.hotkey), " "]),
          "change the version at the same place."),
      );
      element.append(this.list);
    }

    #row(version) {
      const { key, hotkey, label, keeps, colour } = version;
      const button = make("button", {
        type: "button", class: "semtok-play", "aria-label": `Play ${label}`,
        onclick: () => (this.transport.playing && this.chosen === key ? this.transport.pause() : this.choose(key)),
      });
      const message = make("span", { class: "semtok-message", role: "status" });
      const bits = make("span", { class: "semtok-kbit" }, kbits(version.bits));
      const name = make("span", { class: "semtok-name", style: colour ? `background: ${colour}` : null }, label);
      const words = make("span", { class: "semtok-keeps" }, keeps);
      const row = make(
        "li", { "data-key": key, title: hotkey ? `Key ${hotkey}` : null },
        button, name, bits, words, key === "yours" ? this.#ticks() : null, message,
      );
      row.addEventListener("click", (event) => {
        if (!event.target.closest("button, input, label")) this.choose(key);
      });
      this.rows.set(key, { element: row, button, bits, message });
      return row;
    }

    #ticks() {
      const boxes = this.spec.layers.map(({ layer, colour }) => {
        const box = make("input", { type: "checkbox", checked: this.ticks.has(layer), style: `accent-color: ${colour}` });
        box.addEventListener("change", () => {
          this.ticks[box.checked ? "add" : "delete"](layer);
          this.#retick();
        });
        return make("label", {}, box, ` layer ${layer}`);
      });
      const group = make("fieldset", {}, make("legend", {}, "Layers to decode"), ...boxes);
      if (this.most > 1) {
        const number = make("input", { type: "number", min: 1, max: this.most, value: this.stages, inputmode: "numeric" });
        number.addEventListener("input", () => {
          const stages = Number(number.value);
          if (!Number.isInteger(stages) || stages < 1 || stages > this.most || stages === this.stages) return;
          this.stages = stages;
          this.#retick();
        });
        group.append(make("label", {}, "residual stages of a layer, at most ", number));
      }
      return group;
    }

    #retick() {
      const { transport } = this;
      const playing = transport.playing && this.chosen === "yours";
      if (playing) transport.pause();
      transport.versions.delete("yours");
      this.waiting.delete("yours");
      if (transport.has("original")) this.choose("yours", { play: playing });
      else this.#keep();
    }

    #toggle() {
      if (this.transport.playing) this.transport.pause();
      else this.choose(this.chosen);
    }

    #keep() {
      this.kept({ play: this.chosen, ticks: [...this.ticks].sort((a, b) => a - b), stages: this.stages });
    }

    #bits() {
      return this.spec.layers
        .filter((one) => this.ticks.has(one.layer))
        .reduce((sum, one) => sum + one.bits.slice(0, this.stages).reduce((a, b) => a + b, 0), 0);
    }

    #key(event) {
      if (!this.list.isConnected || this.list.offsetParent === null || event.ctrlKey || event.metaKey || event.altKey) return;
      if (typing(event.target)) return;
      if (event.key === " ") {
        if (event.target.closest?.("button, input, a, summary, [role=tab]")) return;
        event.preventDefault();
        this.#toggle();
        return;
      }
      const version = this.spec.versions.find((one) => one.hotkey && one.hotkey === event.key.toUpperCase());
      if (version) this.choose(version.key);
    }

    #save() {
      if (!this.transport.has(this.chosen)) return;
      const url = URL.createObjectURL(semtok.audio.wave(this.transport.samples(this.chosen), this.spec.sample_rate));
      make("a", { href: url, download: `${this.chosen}.wav` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    }

    #show() {
      if (!this.list) return;
      const { playing } = this.transport;
      const version = this.version(this.chosen);
      this.button.textContent = playing ? "❚❚ Pause" : `▶ Play`;
      this.rows.forEach((row, key) => {
        const chosen = key === this.chosen;
        row.element.classList.toggle("semtok-chosen", chosen);
        row.element.classList.toggle("semtok-ready", this.transport.has(key));
        row.button.setAttribute("aria-pressed", chosen && playing);
        row.button.textContent = chosen && playing ? "❚❚" : "▶";
        if (key === "yours") row.bits.textContent = kbits(this.#bits());
      });
      const wave = this.spec.wave_bits;
      const share = version.bits ? Math.round(wave / version.bits) : 0;
      this.saying.textContent =
        this.chosen === "original"
          ? `Original: ${kbits(wave)}, samples of 16 bits.`
          : `${this.#heading(version)}: ${kbits(version.bits)}, 1/${share} of a wave of 16 bits.`;
      this.#move();
      this.shown?.();
    }

    #heading(version) {
      const layers = version.layers ?? [];
      const some = version.stages && version.stages < this.most ? `, at most ${version.stages} stages of each` : "";
      return `Decoded from layer${layers.length === 1 ? "" : "s"} ${layers.join(", ")}${some}${this.spec.voice ?? ""}`;
    }

    #move() {
      const { position, seconds } = this.transport;
      this.time.textContent = `${clock(position)} / ${clock(seconds)}`;
      this.slider.value = seconds ? (1000 * position) / seconds : 0;
      this.moved?.(position);
    }
  };
})();
