// Texts of a page that are harder to read than WCAG AA allows: [what, ratio, text].
() => {
  const numbers = (text) => text.match(/[\d.]+/g).map(Number);
  const parsed = (text) => {
    const [red, green, blue, alpha = 1] = numbers(text);
    return text.startsWith("color(") ? [red * 255, green * 255, blue * 255, alpha] : [red, green, blue, alpha];
  };
  const light = (rgb) => {
    const [red, green, blue] = rgb.map((value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const over = (below, [red, green, blue], alpha) => below.map((value, at) => value * (1 - alpha) + [red, green, blue][at] * alpha);
  const found = new Map();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim();
    const element = walk.currentNode.parentElement;
    const { width, height } = element.getBoundingClientRect();
    if (!text || !width || !height || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
    const own = getComputedStyle(element);
    if (own.visibility === "hidden") continue;
    const layers = [];
    let opacity = 1;
    for (let each = element; each; each = each.parentElement) {
      const style = getComputedStyle(each);
      opacity *= Number(style.opacity);
      layers.unshift(parsed(style.backgroundColor));
    }
    if (opacity < 0.05) continue;
    const back = layers.reduce((below, layer) => over(below, layer, layer[3]), [255, 255, 255]);
    const colour = parsed(own.color);
    const both = [light(over(back, colour, colour[3] * opacity)), light(back)].sort((one, other) => other - one);
    const ratio = (both[0] + 0.05) / (both[1] + 0.05);
    if (ratio < 4.5) found.set(`${element.tagName}.${element.className}`, [ratio.toFixed(2), text.slice(0, 40)]);
  }
  return [...found];
}
