/** Where each photo is on the sheet: pure arithmetic, so that 20,000 photos cost no more than 20. */

export class Layout {
  /** `sizes` are {width, cell, caption, gap, heading}, in pixels; `cell` is the least width of a photo. */
  constructor(sections, { width, cell, caption, gap, heading }) {
    this.sections = sections;
    this.columns = Math.max(1, Math.floor((width + gap) / (cell + gap)));
    this.size = (width - (this.columns - 1) * gap) / this.columns;
    this.step = this.size + caption + gap; // from row to row
    this.across = this.size + gap;
    this.order = sections.flatMap(({ rows }) => rows);
    this.starts = []; // index of the first photo of each section
    this.tops = []; // and where its heading is
    this.headed = sections.some(({ title }) => title) ? heading : 0;
    let [top, start] = [0, 0];
    for (const { rows } of sections) {
      this.tops.push(top);
      this.starts.push(start);
      top += this.headed + Math.ceil(rows.length / this.columns) * this.step;
      start += rows.length;
    }
    this.height = top;
  }

  /** The section that a photo, by its index, is in. */
  sectionOf(index) {
    return last(this.starts, index);
  }

  /** Left and top of a photo. */
  place(index) {
    const section = this.sectionOf(index);
    const within = index - this.starts[section];
    return [
      (within % this.columns) * this.across,
      this.tops[section] + this.headed + Math.floor(within / this.columns) * this.step,
    ];
  }

  /** First and last index (exclusive) of what is between two heights. */
  between(top, bottom) {
    if (!this.order.length) return [0, 0];
    return [this.at(top), Math.min(this.order.length, this.at(bottom) + this.columns)];
  }

  /** Index of the first photo of the row at a height. */
  at(top) {
    const section = Math.max(0, last(this.tops, top));
    const count = this.sections[section]?.rows.length ?? 0;
    const row = Math.floor((top - this.tops[section] - this.headed) / this.step);
    const rows = Math.ceil(count / this.columns);
    return this.starts[section] + Math.max(0, Math.min(rows - 1, row)) * this.columns;
  }

  /** Index of the photo in the next row (`rows` 1) or the one before (-1), over the headings between. */
  vertically(index, rows) {
    const section = this.sectionOf(index);
    const within = index - this.starts[section];
    const column = within % this.columns;
    const count = this.sections[section].rows.length;
    const row = Math.floor(within / this.columns) + rows;
    const last = Math.ceil(count / this.columns) - 1;
    if (row >= 0 && row <= last) return this.starts[section] + Math.min(count - 1, row * this.columns + column);
    const next = section + Math.sign(rows);
    if (next < 0 || next >= this.sections.length) return index;
    const others = this.sections[next].rows.length;
    const first = rows > 0 ? 0 : (Math.ceil(others / this.columns) - 1) * this.columns;
    return this.starts[next] + Math.min(others - 1, first + column);
  }
}

/** Index of the last value that is at most `wanted`; the values rise. */
function last(values, wanted) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= wanted) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
