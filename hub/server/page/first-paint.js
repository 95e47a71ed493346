// A plain script in the head: a module runs after the first paint, and a dark page would flash white before it.
try {
  const theme = JSON.parse(localStorage.getItem("hub.theme"));
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Without storage the page follows the system.
}
