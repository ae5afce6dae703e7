// Loaded after require.js and before embed-amd.js: everything a widget asks for is local, never on another server.
(function () {
  var here = new URL("vendor/widgets", document.currentScript.src).href;
  require.config({ paths: { "@jupyter-widgets/html-manager/dist": here, "@jupyter-widgets": here } });
  // Widget labels speak MathJax 2; translate for MathJax 3.
  window.addEventListener("load", function () {
    var mj = window.MathJax;
    if (mj && mj.startup && !mj.Hub)
      mj.Hub = { Queue: function (job) { mj.startup.promise.then(function () { mj.typesetPromise([job[2]]); }); } };
  });
})();
