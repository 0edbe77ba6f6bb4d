// Browsers can keep a page in memory and show it again after a logout, despite `no-store`: Back then
// shows what the user saw. A page that was kept is hidden, and requested again.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  document.documentElement.hidden = true;
  location.reload();
});
