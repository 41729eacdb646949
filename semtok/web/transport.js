/* One transport for all versions of a recording: another version goes on at the same place, equally loud. */
(() => {
  const semtok = (window.semtok ??= {});
  const FADE_SECONDS = 0.008;
  const MOST_GAIN = 10;
  const FULL_SCALE = 0.99;

  const rms = (samples) => Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);

  semtok.Transport = class {
    /** `changed` is called after whatever a visitor sees of the transport has changed. */
    constructor(rate, changed) {
      this.rate = rate;
      this.changed = changed;
      this.clear();
    }

    clear() {
      this.pause();
      this.versions = new Map();
      this.key = null;
      this.place = 0;
    }

    /** Of a version, as long as the original and as loud; the original is the first that is added. */
    add(key, samples) {
      const original = this.versions.get("original")?.samples ?? samples;
      const long = new Float32Array(original.length);
      long.set(samples.subarray(0, original.length));
      const gain = Math.min(MOST_GAIN, rms(original) / rms(long) || 1);
      const peak = long.reduce((most, value, index) => Math.max(most, Math.abs((long[index] = gain * value))), 0);
      this.versions.set(key, { samples: long, peak });
      if (this.gain) this.gain.gain.value = this.volume;
    }

    has(key) {
      return this.versions.has(key);
    }

    samples(key) {
      return this.versions.get(key).samples;
    }

    get seconds() {
      return (this.versions.get("original")?.samples.length ?? 0) / this.rate;
    }

    /** One for all versions, so that none is clipped and they stay equally loud. */
    get volume() {
      return Math.min(1, FULL_SCALE / Math.max(...[...this.versions.values()].map((version) => version.peak), 1e-9));
    }

    get playing() {
      return Boolean(this.source);
    }

    get position() {
      if (!this.source) return this.place;
      return Math.min(this.seconds, Math.max(0, this.context.currentTime - this.began));
    }

    /** From where the transport is, whether another version plays or none. */
    play(key) {
      const place = this.position >= this.seconds - 0.02 ? 0 : this.position;
      this.#stop();
      this.context ??= new AudioContext();
      this.context.resume();
      if (!this.gain) {
        this.gain = this.context.createGain();
        this.gain.connect(this.context.destination);
      }
      this.gain.gain.value = this.volume;
      const version = this.versions.get(key);
      if (!version.buffer) {
        version.buffer = this.context.createBuffer(1, version.samples.length, this.rate);
        version.buffer.copyToChannel(version.samples, 0);
      }
      const source = new AudioBufferSourceNode(this.context, { buffer: version.buffer });
      const fade = this.context.createGain();
      const now = this.context.currentTime;
      fade.gain.setValueAtTime(0, now);
      fade.gain.linearRampToValueAtTime(1, now + FADE_SECONDS);
      source.connect(fade).connect(this.gain);
      source.onended = () => {
        if (this.source !== source) return;
        this.source = null;
        this.place = 0;
        this.changed();
      };
      source.start(now, place);
      Object.assign(this, { source, fade, key, began: now - place });
      this.changed();
    }

    pause() {
      if (!this.source) return;
      this.place = this.position;
      this.#stop();
      this.changed();
    }

    seek(seconds) {
      const playing = this.playing;
      this.#stop();
      this.place = Math.min(this.seconds, Math.max(0, seconds));
      if (playing) this.play(this.key);
      else this.changed();
    }

    #stop() {
      if (!this.source) return;
      const { source, fade, context } = this;
      this.place = this.position;
      this.source = null;
      fade.gain.linearRampToValueAtTime(0, context.currentTime + FADE_SECONDS);
      source.stop(context.currentTime + FADE_SECONDS);
    }
  };
})();
