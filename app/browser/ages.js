// Ages and remaining times, kept current by the server's clock.

/** The text of a time by its `data-age`: `for` and `ago` an age, `just` an age that begins with "just now", `in` the time left. */
const textOf = (form, millis, ageText) => {
  if (form == 'in') return ageText(-millis);
  if (form == 'for') return ageText(millis);
  return form == 'just' && millis < 1000 ? 'just now' : `${ageText(millis)} ago`;
};

/** Updates every age once a second. */
export const tickAges = ({ ageText, serverNow }) => {
  const update = () => {
    const now = serverNow();
    for (const time of document.querySelectorAll('time[data-age]')) {
      const text = textOf(time.dataset.age, now - Date.parse(time.dateTime), ageText);
      if (time.textContent != text) {
        time.textContent = text;
        time.setAttribute('aria-label', `${text}, ${time.title}`);
      }
    }
  };
  setInterval(update, 1000);
};
