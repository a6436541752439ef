// Before anything is said: the language that the browser would rather read. A choice made on the page beats it (i18n.js).

const wanted = navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag)) ?? "en";
document.documentElement.lang = /^zh/i.test(wanted) ? "zh-CN" : "en";
