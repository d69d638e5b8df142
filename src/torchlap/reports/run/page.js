// The figures of a mark: point at it, or step through the marks of a focused chart with the arrow keys.
for (const bubble of document.querySelectorAll("output.bubble")) {
  const drawing = bubble.previousElementSibling;
  const marks = [...drawing.querySelectorAll("g[id*='-tip-'] > title")].map((title) => {
    const mark = title.parentElement;
    mark.dataset.tip = title.textContent;
    title.remove();
    return mark;
  });
  let place = -1;
  const show = (mark) => {
    for (const other of marks) other.classList.toggle("pointed", other === mark);
    bubble.hidden = !mark;
    if (!mark) return;
    bubble.textContent = mark.dataset.tip;
    const figure = drawing.parentElement.getBoundingClientRect();
    const box = mark.getBoundingClientRect();
    const left = box.left + box.width / 2 - figure.left - bubble.offsetWidth / 2;
    bubble.style.left = `${Math.max(0, Math.min(left, figure.width - bubble.offsetWidth))}px`;
    bubble.style.top = `${box.bottom - figure.top + 4}px`;
  };
  for (const mark of marks) {
    mark.addEventListener("pointerenter", () => { place = marks.indexOf(mark); show(mark); });
    mark.addEventListener("pointerleave", () => show(null));
  }
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (event.key === "Escape") show(null);
    if (!step || !marks.length) return;
    event.preventDefault();
    place = (place + step + marks.length) % marks.length;
    show(marks[place]);
  });
  drawing.addEventListener("blur", () => show(null));
}
// Any chart can be enlarged to the whole window, where it scrolls on a phone.
for (const figure of document.querySelectorAll("figure")) {
  const button = document.createElement("button");
  const enlarge = (on) => {
    figure.classList.toggle("enlarged", on);
    button.textContent = on ? "Close" : "Enlarge";
  };
  button.type = "button";
  button.className = "enlarge";
  enlarge(false);
  button.addEventListener("click", () => enlarge(!figure.classList.contains("enlarged")));
  figure.addEventListener("keydown", (event) => { if (event.key === "Escape") enlarge(false); });
  figure.querySelector("figcaption").append(" ", button);
}
// The download is compressed: unpack it here, so that what is saved is the run file itself.
for (const link of document.querySelectorAll("a[data-file]")) {
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    const packed = Uint8Array.from(atob(link.href.split(",")[1]), (letter) => letter.charCodeAt(0));
    const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const target = document.createElement("a");
    target.href = URL.createObjectURL(await new Response(unpacked).blob());
    target.download = link.dataset.file;
    target.click();
  });
}
