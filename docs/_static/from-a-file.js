// A page opened from a file may not read others, so the search shows titles without the text around a word.
if (window.location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}
