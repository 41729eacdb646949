/* Codes and speech made in the browser by onnxruntime, and the page that they are heard on. */
(async () => {
  // a module whose one function makes a vector of 128 bits
  const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
  const loading = document.getElementById("loading");

  async function download(name, countUp) {
    const response = await fetch(name);
    if (!response.ok) throw new Error(`${name} is not there: the server answers ${response.status}`);
    const parts = [];
    const reader = response.body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      countUp(part.value.length);
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  async function load() {
    if (location.protocol === "file:") throw new Error("open the page by a web server: python -m http.server");
    if (!window.WebAssembly?.validate(new Uint8Array(SIMD)))
      throw new Error("this browser has no WebAssembly with SIMD: use a newer one");
    // threads need memory that pages share, which servers allow by two headers
    ort.env.wasm.numThreads = window.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
    // out of the thread that draws the page
    ort.env.wasm.proxy = true;
    ort.env.wasm.wasmPaths = new URL("./", location.href).href;
    let bytes = 0;
    const countUp = (more) => {
      bytes += more;
      // the other file may still come after one has failed
      if (!loading.hasAttribute("data-failed")) loading.textContent = `The models are loaded: ${(bytes / 1e6).toFixed(0)} MB, once`;
    };
    const [spec, ...models] = await Promise.all([
      fetch("semtok.json").then((response) => response.json()),
      download("tokenizer.onnx", countUp),
      download("vocoder.onnx", countUp),
    ]);
    const [tokenizer, vocoder] = [
      await ort.InferenceSession.create(models[0]),
      await ort.InferenceSession.create(models[1]),
    ];
    return { spec, tokenizer, vocoder };
  }

  function engine({ spec, tokenizer, vocoder }) {
    const layers = spec.layers.flatMap((one) => one.bits.map(() => one.layer));
    const stages = spec.layers.flatMap((one) => one.bits.map((_, stage) => stage + 1));
    let codes = null;
    return {
      most_seconds: 600,
      taken_seconds: 30,
      async encode({ samples }) {
        const padded = new Float32Array(Math.max(samples.length, spec.minimum_samples));
        padded.set(samples);
        const output = await tokenizer.run({ waveform: new ort.Tensor("float32", padded, [1, padded.length]) });
        codes = output.codes;
        const [, count, frames] = codes.dims;
        const values = Array.from(codes.data, Number);
        const rows = Array.from({ length: count }, (_, row) => values.slice(row * frames, (row + 1) * frames));
        return { names: spec.rows, layers, stages, rows };
      },
      async decode(chosen, most) {
        const frames = codes.dims[2];
        const count = Math.max(frames, spec.minimum_frames);
        const padded = new BigInt64Array(layers.length * count);
        layers.forEach((_, row) => padded.set(codes.data.slice(row * frames, (row + 1) * frames), row * count));
        const keep = layers.map((layer, row) => (chosen.includes(layer) && stages[row] <= most ? 1 : 0));
        const inputs = {
          codes: new ort.Tensor("int64", padded, [1, layers.length, count]),
          keep: new ort.Tensor("float32", Float32Array.from(keep), [keep.length]),
        };
        if (spec.speaker_dim)
          inputs.speaker = new ort.Tensor("float32", new Float32Array(spec.speaker_dim), [1, spec.speaker_dim]);
        const { waveform } = await vocoder.run(inputs);
        return Float32Array.from(waveform.data);
      },
    };
  }

  try {
    const models = await load();
    loading.hidden = true;
    semtok.engine = engine(models);
    semtok.page = semtok.listen(document.getElementById("listen"), models.spec, semtok.engine);
  } catch (error) {
    loading.setAttribute("data-failed", "");
    loading.setAttribute("role", "alert");
    loading.textContent = `The page cannot run here: ${error.message}.`;
  }
})();
