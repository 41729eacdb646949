() => {
  // Several recorders have buttons of the same names: a group with the recorder's label tells them apart.
  const name = () =>
    document.querySelectorAll('label[data-testid="block-label"]').forEach((label) => {
      const block = label.closest(".block");
      if (block && block.getAttribute("aria-label") !== label.innerText.trim()) {
        block.setAttribute("role", "group");
        block.setAttribute("aria-label", label.innerText.trim());
      }
    });
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true, characterData: true });
  name();

  // Of a microphone that is denied gradio tells the console alone.
  let pressed = null;
  document.addEventListener("click", (event) => {
    pressed = event.target.closest('.block[role="group"]');
    document.querySelectorAll(".semtok-microphone").forEach((message) => message.remove());
  }, true);
  window.addEventListener("unhandledrejection", (event) => {
    if (!/microphone/i.test(String(event.reason?.message ?? event.reason))) return;
    event.preventDefault();
    const message = document.createElement("p");
    message.className = "semtok-microphone";
    message.setAttribute("role", "alert");
    message.textContent = "The browser gives no microphone: allow this page to use it, or upload a file.";
    (pressed ?? document.body).append(message);
  });
}
