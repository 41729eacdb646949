/* Audio of files and microphones as samples, and samples as WAV. Errors are sentences for the visitor. */
(() => {
  const semtok = (window.semtok ??= {});
  const MOST_BYTES = 300e6;
  const SHORTEST_SECONDS = 0.1;

  const seconds = (blob) =>
    new Promise((resolve) => {
      const audio = new Audio();
      audio.preload = "metadata";
      const done = (value) => {
        URL.revokeObjectURL(audio.src);
        resolve(value);
      };
      audio.onloadedmetadata = () => done(audio.duration);
      audio.onerror = () => done(NaN);
      audio.src = URL.createObjectURL(blob);
    });

  const clock = (value) => `${Math.floor(value / 60)}:${String(Math.floor(value % 60)).padStart(2, "0")}`;

  /** Whatever the browser can play, mono at `rate`: wav, flac, mp3, ogg, and what phones record (m4a, webm). */
  async function read(blob, name, rate, mostSeconds) {
    if (!blob.size) throw new Error(`${name} is empty: open another file`);
    if (blob.size > MOST_BYTES) throw new Error(`${name} has ${Math.round(blob.size / 1e6)} MB, 300 are taken: cut it`);
    // before it is decoded, as ten hours would fill the memory
    const length = await seconds(blob);
    const tooLong = (value) =>
      new Error(`${name} is ${clock(value)} long, ${clock(mostSeconds)} are taken: cut it, or use the command line`);
    if (Number.isFinite(length) && length > mostSeconds) throw tooLong(length);
    let decoded;
    try {
      decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await blob.arrayBuffer());
    } catch {
      throw new Error(`${name} cannot be read: it is damaged, or no audio that this browser plays`);
    }
    if (decoded.duration > mostSeconds) throw tooLong(decoded.duration);
    if (decoded.duration < SHORTEST_SECONDS) throw new Error(`${name} is shorter than a tenth of a second`);
    const samples = new Float32Array(decoded.getChannelData(0));
    for (let channel = 1; channel < decoded.numberOfChannels; channel++)
      decoded.getChannelData(channel).forEach((value, index) => (samples[index] += value));
    let peak = 0;
    for (let index = 0; index < samples.length; index++) {
      samples[index] /= decoded.numberOfChannels;
      peak = Math.max(peak, Math.abs(samples[index]));
    }
    if (peak < 1e-5) throw new Error(`${name} is silent: there is nothing to hear in it`);
    return samples;
  }

  /** Begins to record; `stop` of what comes back gives the recording as the browser makes it. */
  async function record() {
    if (!navigator.mediaDevices?.getUserMedia)
      throw new Error("There is no microphone on a page without https: open a file instead.");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      throw new Error("The browser gives no microphone: allow this page to use it, or open a file.");
    }
    const recorder = new MediaRecorder(stream);
    const parts = [];
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.start();
    return {
      stop: () =>
        new Promise((resolve) => {
          recorder.onstop = () => {
            stream.getTracks().forEach((track) => track.stop());
            resolve(new Blob(parts, { type: recorder.mimeType }));
          };
          recorder.stop();
        }),
    };
  }

  /** A WAV of 16 bits. */
  function wave(samples, rate) {
    const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
    const text = (at, value) => [...value].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
    text(0, "RIFF");
    view.setUint32(4, 36 + 2 * samples.length, true);
    text(8, "WAVEfmt ");
    view.setUint32(16, 16, true);
    view.setUint16(20, 1, true);
    view.setUint16(22, 1, true);
    view.setUint32(24, rate, true);
    view.setUint32(28, 2 * rate, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    text(36, "data");
    view.setUint32(40, 2 * samples.length, true);
    samples.forEach((value, index) =>
      view.setInt16(44 + 2 * index, Math.round(32767 * Math.min(1, Math.max(-1, value))), true),
    );
    return new Blob([view], { type: "audio/wav" });
  }

  semtok.audio = { read, record, wave, clock };
})();
