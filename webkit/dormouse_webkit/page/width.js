// Pictures are drawn for the width that there is. Their own height changes with what they show, which is no reason to draw
// again: an observer that changes what it observes would go round in circles.

export function onWidth(element, changed) {
  let width = 0;
  new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    width = element.clientWidth;
    requestAnimationFrame(changed);
  }).observe(element);
}
