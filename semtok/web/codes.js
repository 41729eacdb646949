/* The codes around the place that is heard: a row for each stage of a layer, codes that repeat as one block. */
(() => {
  const semtok = (window.semtok ??= {});
  const CELL = 24;
  const HEIGHT = 22;
  const NAMES = 44;

  /** Draws `codes` {names, layers, rows}: of rows of `heard` layers and stages; returns what is drawn, in words. */
  semtok.drawCodes = (canvas, codes, layers, heard, frame) => {
    const shown = codes.names.map((_, row) => row).filter((row) => heard(codes.layers[row], codes.stages[row]));
    const width = canvas.parentElement.clientWidth;
    const count = Math.max(1, Math.floor((width - NAMES) / CELL));
    const first = Math.floor(frame / count) * count;
    const scale = window.devicePixelRatio || 1;
    canvas.style.height = `${HEIGHT * shown.length}px`;
    canvas.width = width * scale;
    canvas.height = HEIGHT * shown.length * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const ink = getComputedStyle(canvas).color;
    shown.forEach((row, line) => {
      const values = codes.rows[row].slice(first, first + count);
      const colour = layers.find((one) => one.layer === codes.layers[row]).colour;
      const middle = HEIGHT * (line + 0.5);
      pen.textAlign = "left";
      pen.fillStyle = ink;
      pen.fillText(codes.names[row], 2, middle);
      pen.textAlign = "center";
      for (let start = 0; start < values.length; ) {
        let stop = start + 1;
        while (stop < values.length && values[stop] === values[start]) stop++;
        const left = NAMES + CELL * start;
        const current = first + start <= frame && frame < first + stop;
        pen.globalAlpha = current ? 1 : 0.2;
        pen.fillStyle = colour;
        pen.fillRect(left, HEIGHT * line + 1, CELL * (stop - start) - 1, HEIGHT - 2);
        pen.globalAlpha = 1;
        pen.fillStyle = current ? "#fff" : ink;
        pen.fillText(values[start], left + (CELL * (stop - start) - 1) / 2, middle);
        start = stop;
      }
    });
    const last = Math.min(first + count, codes.rows[0].length);
    return `Codes of ${shown.map((row) => codes.names[row]).join(", ")}, frames ${first} to ${last - 1}`;
  };
})();
