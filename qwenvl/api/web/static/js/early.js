// Runs before the first paint, so that no page flashes in the wrong colours. A classic script: modules wait.
(() => {
  try {
    const { theme } = JSON.parse(localStorage.getItem("qwenvl.preferences") ?? "{}");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // No storage, or nothing readable in it: the system's colours it is.
  }
})();
