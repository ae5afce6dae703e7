// A formula too wide for the screen scrolls on its own; let the keyboard reach it.
function reachable() {
  for (const box of document.querySelectorAll("mjx-container[display=true], div.math"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
}
window.addEventListener("load", function () {
  if (window.MathJax && MathJax.startup && MathJax.startup.promise) MathJax.startup.promise.then(reachable);
  window.addEventListener("resize", reachable);
});
