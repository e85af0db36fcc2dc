// Shows the figures of a mark under the pointer at once; without this script a browser shows the
// same title after a while.
(() => {
  const tip = document.getElementById("tip");
  const marks = document.querySelectorAll("svg.chart .mark");
  for (const mark of marks) {
    const title = mark.querySelector("title");
    if (!title) continue;
    mark.dataset.tip = title.textContent;
    title.remove();
    mark.addEventListener("pointerenter", (event) => show(mark, event));
    mark.addEventListener("pointermove", (event) => show(mark, event));
    mark.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
  const show = (mark, event) => {
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18;
    const top = below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : below;
    tip.style.left = Math.max(left, 8) + "px";
    tip.style.top = Math.max(top, 8) + "px";
  };
  document.documentElement.dataset.marks = String(marks.length);
})();
